/* Type-ahead: tells Python what is typed and shows what it found, as text. */
export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const input = parentElement.querySelector("input");
  const list = parentElement.querySelector("ul");
  parentElement.querySelector("label span").textContent = data.label;
  input.placeholder = data.placeholder;
  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); };
  const choose = (name) => {
    clearTimeout(input.waiting);
    input.value = "";
    close();
    setStateValue("typed", "");
    setTriggerValue("chosen", name);
  };
  input.marked = -1;
  list.replaceChildren();
  const wanted = input.value.trim();
  for (const name of data.found) {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.textContent = name;
    item.onmousedown = (event) => { event.preventDefault(); choose(name); };
    list.append(item);
  }
  if (wanted && data.text.trim() === wanted && !data.found.length) {
    const item = document.createElement("li");
    item.className = "none";
    item.textContent = "Nothing like that";
    list.append(item);
  }
  const open = wanted !== "" && list.children.length > 0 && input.matches(":focus");
  list.hidden = !open;
  input.setAttribute("aria-expanded", String(open));
  input.oninput = () => {
    clearTimeout(input.waiting);
    input.waiting = setTimeout(() => setStateValue("typed", input.value), 120);
  };
  input.onblur = close;
  input.onfocus = () => { if (input.value.trim() && list.children.length) list.hidden = false; };
  input.onkeydown = (event) => {
    const items = [...list.querySelectorAll("[role=option]")];
    if (event.key === "Escape") close();
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      input.marked = Math.max(0, Math.min(items.length - 1, input.marked + (event.key === "ArrowDown" ? 1 : -1)));
      items.forEach((item, at) => item.setAttribute("aria-selected", String(at === input.marked)));
      if (items[input.marked]) items[input.marked].scrollIntoView({ block: "nearest" });
    }
    if (event.key === "Enter" && !list.hidden && items.length && data.text.trim() === input.value.trim())
      choose(items[Math.max(0, input.marked)].textContent);
  };
}

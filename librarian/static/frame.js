/* Holds the picture in a frame of an origin of its own and hears which node was clicked in it.
   The frame can say names and nothing else; Python looks them up in the graph. */
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const frame = parentElement.querySelector("iframe");
  const drawing = parentElement.querySelector("p"); // that of a large graph takes seconds
  const tell = () => frame.contentWindow && frame.contentWindow.postMessage({ type: "librarian:show", name: data.selected }, "*");
  const name = (text) => typeof text === "string" && text.length <= 4000;
  const hear = (event) => {
    const said = event.data;
    if (event.source !== frame.contentWindow || !said || typeof said !== "object") return;
    if (said.type === "librarian:ready") tell();
    if (said.type === "librarian:select" && name(said.name)) setTriggerValue("clicked", { kind: "select", names: [said.name] });
    if (said.type === "librarian:open" && name(said.name)) setTriggerValue("clicked", { kind: "open", names: [said.name] });
    if (said.type === "librarian:edge" && name(said.source) && name(said.target))
      setTriggerValue("clicked", { kind: "edge", names: [said.source, said.target] });
  };
  if (frame.hear) window.removeEventListener("message", frame.hear);
  frame.hear = hear;
  window.addEventListener("message", hear);
  frame.style.height = data.height + "px";
  if (frame.dataset.address !== data.address) {
    frame.dataset.address = data.address;
    frame.setAttribute("sandbox", "allow-scripts allow-downloads");
    frame.setAttribute("allow", "fullscreen");
    frame.setAttribute("referrerpolicy", "no-referrer");
    drawing.hidden = false;
    frame.onload = () => { drawing.hidden = true; };
    frame.src = data.address + "#page";
  } else {
    tell();
  }
  return () => window.removeEventListener("message", frame.hear);
}

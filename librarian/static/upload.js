/* Sends files slice by slice to /upload/KEY and goes on after a break. Runs inside Streamlit's page,
   as a component; names are set as text, never as HTML. What has arrived is in the library, whatever
   becomes of this page. */
const SLICE = 8 * 1024 * 1024;
const AT_ONCE = 2;
const PATIENCE_MS = [500, 1000, 2000, 4000, 8000, 15000, 30000, 30000, 30000];
const hosts = new WeakMap();

/* Names a file, so that it is gone on with when it is chosen again. (MurmurHash's mixing, four times.) */
function keyOf(text) {
  const state = [1779033703, 3144134277, 1013904242, 2773480762];
  const primes = [597399067, 2869860233, 951274213, 2716044179];
  for (const character of text) {
    const code = character.codePointAt(0);
    for (let i = 0; i < 4; i++) state[i] = Math.imul(state[i] ^ code ^ (state[(i + 1) % 4] >>> 7), primes[i]);
  }
  return state.map((part) => (part >>> 0).toString(16).padStart(8, "0")).join("");
}

function bytes(count) {
  for (const unit of ["B", "KB", "MB"]) {
    if (count < 1000) return (unit === "B" ? count : count.toFixed(1)) + " " + unit;
    count /= 1000;
  }
  return count.toFixed(2) + " GB";
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function request(method, url, ticket, body, json, told, item) {
  return new Promise((done, failed) => {
    const call = new XMLHttpRequest();
    call.open(method, url);
    call.setRequestHeader("X-Upload-Ticket", ticket);
    if (json) call.setRequestHeader("Content-Type", "application/json");
    else if (body) call.setRequestHeader("Content-Type", "application/octet-stream");
    if (told) call.upload.onprogress = (event) => told(event.loaded);
    call.onload = () => {
      let said = {};
      try { said = JSON.parse(call.responseText); } catch { /* a proxy's page */ }
      done({ status: call.status, said });
    };
    call.onerror = call.onabort = () => failed(new Error("the connection was lost"));
    item.call = call;
    call.send(body || null);
  });
}

/* One file to its end. Throws what a person should read. */
async function send(item, host) {
  const url = new URL("/upload/" + item.key, location.origin);
  let at = 0, known = false, failures = 0;
  for (;;) {
    if (item.cancelled) throw new Error("cancelled; what has arrived is kept for two days");
    try {
      let answer;
      if (!known) {
        answer = await request("GET", url, host.ticket, null, false, null, item);
      } else if (at < item.file.size) {
        const slice = item.file.slice(at, at + SLICE);
        const begun = at;
        url.search = "?offset=" + at;
        answer = await request("PUT", url, host.ticket, slice, false, (sent) => show(item, begun + sent), item);
      } else {
        url.search = "";
        const end = JSON.stringify({ name: item.name, bytes: item.file.size });
        answer = await counted(item, request("POST", url, host.ticket, end, true, null, item));
        if (answer.status === 200) return answer.said.admissions;
      }
      if (answer.status === 200 || answer.status === 409) {
        at = answer.said.bytes;
        known = true;
        failures = 0;
        show(item, at);
        if (at > item.file.size) throw Object.assign(new Error("it was changed meanwhile; choose it again"), { final: true });
        continue;
      }
      if (answer.status < 500) throw Object.assign(new Error(answer.said.error || "refused: " + answer.status), { final: true });
      throw new Error(answer.said.error || "the server answered " + answer.status);
    } catch (error) {
      if (error.final || item.cancelled) throw error;
      if (failures >= PATIENCE_MS.length) throw error;
      item.note(error.message + "; trying again");
      await sleep(PATIENCE_MS[failures++]);
      known = false;
    }
  }
}

/* A book or an archive may be converted for minutes: says for how long. */
async function counted(item, answer) {
  const begun = Date.now();
  const said = () => {
    const seconds = Math.round((Date.now() - begun) / 1000);
    item.note(seconds < 2 ? "being read…" : "being read for " + span(seconds) + "…");
  };
  said();
  const timer = setInterval(said, 1000);
  try { return await answer; } finally { clearInterval(timer); }
}

const span = (s) => (s < 60 ? s + " s" : Math.floor(s / 60) + " min " + (s % 60) + " s");

function show(item, done) {
  const share = item.file.size ? Math.min(1, done / item.file.size) : 1;
  item.bar.style.width = 100 * share + "%";
  item.note(bytes(done) + " of " + bytes(item.file.size));
}

function line(item, host) {
  const row = document.createElement("li");
  const name = document.createElement("span"), state = document.createElement("span");
  const track = document.createElement("div"), stop = document.createElement("button");
  item.bar = document.createElement("i");
  name.className = "name"; name.textContent = name.title = item.name;
  state.className = "state";
  track.className = "track"; track.append(item.bar);
  stop.type = "button"; stop.textContent = "×"; stop.title = "Cancel"; stop.setAttribute("aria-label", "Cancel " + item.name);
  stop.onclick = () => { item.cancelled = true; if (item.call) item.call.abort(); };
  item.note = (text) => { state.textContent = text; };
  item.end = (text, kind) => { item.note(text); row.className = kind; stop.remove(); };
  item.row = row;
  row.append(name, state, stop, track);
  host.list.append(row);
  item.note("waiting, " + bytes(item.file.size));
}

async function work(host) {
  if (host.working >= AT_ONCE) return;
  host.working++;
  for (let item; (item = host.queue.shift()); ) {
    try {
      if (item.cancelled) throw new Error("cancelled");
      const admissions = await send(item, host);
      item.row.remove();
      host.arrived.push(...admissions);
    } catch (error) {
      item.end(error.message, "failed");
    }
    report(host);
  }
  host.working--;
  report(host);
}

/* Tells the page of what has arrived, at most once a second: each time it is drawn anew. */
function report(host) {
  host.head.textContent = host.queue.length + host.working > 1 ? host.queue.length + host.working + " files to go" : "";
  if (!host.arrived.length || host.timer) return;
  host.timer = setTimeout(() => {
    host.timer = null;
    host.tell("arrived", host.arrived.splice(0));
  }, host.queue.length || host.working ? 1000 : 50);
}

function add(host, files) {
  for (const { file, name } of files) {
    const item = { file, name, key: keyOf([name, file.size, file.lastModified].join("|")) };
    line(item, host);
    host.queue.push(item);
  }
  for (let i = 0; i < AT_ONCE; i++) work(host);
}

/* Files of what was dropped; folders with all that is in them. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  async function walk(entry, prefix) {
    if (entry.name.startsWith(".")) return;
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push({ file, name: prefix + entry.name });
    } else {
      const reader = entry.createReader();
      for (let batch; (batch = await new Promise((done, failed) => reader.readEntries(done, failed))).length; )
        for (const each of batch) await walk(each, prefix + entry.name + "/");
    }
  }
  for (const entry of entries) await walk(entry, "");
  return found;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const $ = (selector) => parentElement.querySelector(selector);
  let host = hosts.get(parentElement);
  if (!host) {
    host = { queue: [], arrived: [], working: 0, timer: null, list: $("#list"), head: $("#left") };
    hosts.set(parentElement, host);
  }
  host.ticket = data.ticket;
  host.tell = setTriggerValue;
  const zone = $("#zone"), files = $("#files"), folder = $("#folder");
  $("#choose").onclick = () => files.click();
  $("#browse").onclick = () => folder.click();
  files.onchange = folder.onchange = (event) => {
    const chosen = [...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
    add(host, chosen.filter((each) => !each.name.split("/").some((part) => part.startsWith("."))));
    event.target.value = "";
  };
  zone.ondragover = (event) => { event.preventDefault(); zone.classList.add("over"); };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    add(host, await dropped(event.dataTransfer));
  };
}

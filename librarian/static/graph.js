/* Runs after the page that pyvis made: `network`, `nodes` and `edges` are its globals. Names and
   descriptions are drawn on the canvas or set as text, never as HTML. */
(function () {
  "use strict";
  const config = JSON.parse(document.getElementById("config-data").textContent);
  const $ = (id) => document.getElementById(id);
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const theme = { back: variable("--back"), text: variable("--text"), accent: variable("--accent"), strong: variable("--strong") };
  const all = nodes.get();
  const byId = new Map(all.map((node) => [node.id, node]));
  const links = new Map(all.map((node) => [node.id, []]));
  edges.forEach((edge) => {
    links.get(edge.from).push({ to: edge.to, edge });
    links.get(edge.to).push({ to: edge.from, edge });
  });
  const ranked = all.slice().sort((a, b) => b.size - a.size || a.id - b.id);
  const hiddenGroups = new Set();
  const shown = (id) => !hiddenGroups.has(byId.get(id).group);
  const colour = (node) => config.colours[node.group];
  let hovered = null;
  let selected = config.focus;
  let moved = false;
  let quiet = config.focus; /* marked, but without its card until it is clicked */
  const place = new Map();

  /* ---- drawing over vis: highlight, labels ---- */
  const FONT = '"Segoe UI", system-ui, -apple-system, Roboto, "Noto Sans", Arial, sans-serif';
  const MOST_LABELS = 260;
  const HUBS = 28; /* labels that may cover small nodes */
  const SMALLEST_DOT = 3.4; /* pixels; smaller nodes have a label when the view comes closer */
  const widths = new Map();

  function labelWidth(ctx, node, bold) {
    const key = node.id + (bold ? "b" : "");
    if (!widths.has(key)) {
      ctx.font = (bold ? "600 " : "") + "100px " + FONT;
      widths.set(key, ctx.measureText(node.caption).width / 100);
    }
    return widths.get(key);
  }

  /* Boxes on the screen that are taken already, found by the squares they touch. */
  function Places() {
    const squares = new Map(), side = 80;
    const around = (box) => {
      const keys = [];
      for (let i = Math.floor(box[0] / side); i <= Math.floor(box[2] / side); i++)
        for (let j = Math.floor(box[1] / side); j <= Math.floor(box[3] / side); j++) keys.push(i + ":" + j);
      return keys;
    };
    const touch = (a, b) => a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];
    this.free = (box) => !around(box).some((key) => (squares.get(key) || []).some((other) => touch(box, other)));
    this.take = (box) => around(box).forEach((key) =>
      squares.has(key) ? squares.get(key).push(box) : squares.set(key, [box]));
  }

  /* Where nodes are on the screen, the largest first; those outside are left out. */
  function visible(scale) {
    const element = network.body.container;
    const centre = network.getViewPosition();
    const halfX = element.clientWidth / 2, halfY = element.clientHeight / 2;
    const found = [];
    for (const node of ranked) {
      if (!shown(node.id)) continue;
      const at = place.get(node.id);
      const x = (at.x - centre.x) * scale + halfX, y = (at.y - centre.y) * scale + halfY;
      if (x > -80 && y > -40 && x < 2 * halfX + 80 && y < 2 * halfY + 30)
        found.push({ node, at, x, y, dot: node.size * scale });
    }
    return found;
  }

  /* Labels never cover each other or a larger node, and only those of hubs cover smaller nodes. */
  function drawLabels(ctx, scale, chosen) {
    const first = hovered !== null ? hovered : selected;
    const spots = visible(scale).filter(({ node }) => !chosen || chosen.has(node.id));
    spots.sort((a, b) => (b.node.id === first) - (a.node.id === first));
    const labels = new Places(), dots = new Places();
    for (const { x, y, dot } of spots) dots.take([x - dot, y - dot, x + dot, y + dot]);
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.lineJoin = "round";
    ctx.strokeStyle = theme.back;
    ctx.fillStyle = theme.text;
    const edge = network.body.container.clientWidth - 4;
    const inside = (box) => box[0] > 4 && box[2] < edge;
    let drawn = 0;
    for (const { node, at, x, y, dot } of spots) {
      if (drawn > MOST_LABELS) break;
      const strong = node.id === first;
      if (!chosen && dot < SMALLEST_DOT && node.opens === undefined) break;
      const pixels = strong ? 14 : Math.max(10.5, Math.min(15, 8.5 + dot * 0.28));
      const half = (labelWidth(ctx, node, strong) * pixels) / 2 + 4, up = pixels * 0.68;
      const away = dot + up + 1.5, aside = dot + half + 1.5;
      const box = ([dx, dy]) => [x + dx - half, y + dy - up, x + dx + half, y + dy + up];
      const ways = [[0, away], [0, -away], [aside, 0], [-aside, 0]];
      const open = ways.filter((way) => inside(box(way)) && labels.free(box(way)));
      const way = open.find((one) => dots.free(box(one))) || (strong || drawn < HUBS ? open[0] : null)
        || (strong ? ways[0] : null);
      if (way) {
        labels.take(box(way));
        ctx.font = (strong ? "600 " : "") + pixels / scale + "px " + FONT;
        ctx.lineWidth = 3.5 / scale;
        ctx.strokeText(node.caption, at.x + way[0] / scale, at.y + way[1] / scale);
        ctx.fillText(node.caption, at.x + way[0] / scale, at.y + way[1] / scale);
        drawn++;
      }
      labels.take([x - dot, y - dot, x + dot, y + dot]);
    }
  }

  function ring(ctx, node, scale) {
    const { x, y } = place.get(node.id);
    ctx.beginPath();
    ctx.arc(x, y, node.size + 4 / scale, 0, 2 * Math.PI);
    ctx.lineWidth = 2.5 / scale;
    ctx.strokeStyle = theme.accent;
    ctx.stroke();
  }

  function spotlight(ctx, scale, id) {
    const chosen = new Set([id]);
    const element = network.body.container;
    const centre = network.getViewPosition();
    const w = element.clientWidth / scale, h = element.clientHeight / scale;
    ctx.globalAlpha = 0.7;
    ctx.fillStyle = theme.back;
    ctx.fillRect(centre.x - w, centre.y - h, 2 * w, 2 * h);
    ctx.globalAlpha = 1;
    const from = place.get(id);
    for (const link of links.get(id)) {
      if (!shown(link.to)) continue;
      chosen.add(link.to);
      const to = place.get(link.to);
      ctx.beginPath();
      ctx.moveTo(from.x, from.y);
      ctx.lineTo(to.x, to.y);
      ctx.lineWidth = Math.max(Math.min(link.edge.width, 3), 1.2 / scale);
      ctx.strokeStyle = theme.strong;
      ctx.stroke();
    }
    for (const one of chosen) {
      const node = byId.get(one), { x, y } = place.get(one);
      ctx.beginPath();
      ctx.arc(x, y, node.size, 0, 2 * Math.PI);
      ctx.fillStyle = colour(node);
      ctx.fill();
      ctx.lineWidth = 1.5;
      ctx.strokeStyle = theme.back;
      ctx.stroke();
    }
    return chosen;
  }

  network.on("afterDrawing", (ctx) => {
    const scale = network.getScale();
    const at = network.getPositions();
    for (const node of all) place.set(node.id, at[node.id] || { x: node.x, y: node.y });
    const lit = hovered !== null ? hovered : selected === quiet ? null : selected;
    const chosen = lit !== null && shown(lit) ? spotlight(ctx, scale, lit) : null;
    if (selected !== null && shown(selected)) ring(ctx, byId.get(selected), scale);
    drawLabels(ctx, scale, chosen);
  });

  /* ---- texts ---- */
  function make(tag, kind, text) {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function dot(node) {
    const element = make("i");
    element.style.background = colour(node);
    return element;
  }

  function describe(target, node) {
    const count = links.get(node.id).length;
    const meta = make("div", "meta");
    if (node.opens !== undefined) meta.append(dot(node), node.kind + " · click to open");
    else meta.append(dot(node), node.kind + " · " + count + (count === 1 ? " relation" : " relations"));
    target.append(make("div", "name", node.name.length > 500 ? node.name.slice(0, 500) + "…" : node.name), meta);
    if (node.words) target.append(make("p", "words", node.words));
  }

  function tip(fill, event) {
    const box = $("tip");
    box.replaceChildren();
    fill(box);
    box.hidden = false;
    const at = event.pointer.DOM;
    const right = document.documentElement.clientWidth - box.offsetWidth - 8;
    const bottom = document.documentElement.clientHeight - box.offsetHeight - 8;
    box.style.left = Math.max(8, Math.min(at.x + 16, right)) + "px";
    box.style.top = (at.y + 18 > bottom ? Math.max(8, at.y - box.offsetHeight - 14) : at.y + 18) + "px";
  }

  const MOST = 40;

  function card() {
    const box = $("card");
    box.hidden = inPage || selected === null || selected === quiet;
    if (box.hidden) return;
    const close = make("button", "close", "×");
    close.setAttribute("aria-label", "Close");
    close.onclick = () => select(null);
    box.replaceChildren(close);
    describe(box, byId.get(selected));
    const near = links.get(selected).map((link) => byId.get(link.to)).sort((a, b) => b.size - a.size);
    if (!near.length) return;
    box.append(make("h2", "", "Related" + (near.length > MOST ? ", first " + MOST : "")));
    const list = make("ul");
    for (const node of near.slice(0, MOST)) {
      const item = make("li"), button = make("button");
      button.append(dot(node), make("span", "", node.caption));
      button.onclick = () => { select(node.id, true); approach(node.id); };
      item.append(button);
      list.append(item);
    }
    box.append(list);
    box.scrollTop = 0;
  }

  const inPage = location.hash === "#page"; /* the page around shows what was clicked */
  const say = (message) => window.parent.postMessage(message, "*");

  function select(id, tell) {
    selected = id;
    hovered = null;
    quiet = null;
    $("tip").hidden = true;
    card();
    network.redraw();
    if (tell && id !== null) say({ type: "librarian:select", name: byId.get(id).name });
  }

  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const animation = still ? false : { duration: 350, easingFunction: "easeInOutQuad" };

  function approach(id) {
    moved = true;
    network.focus(id, { scale: Math.max(network.getScale(), 0.8), animation });
  }

  /* ---- events ---- */
  network.on("hoverNode", (event) => {
    hovered = event.node;
    tip((box) => describe(box, byId.get(event.node)), event);
    $("mynetwork").style.cursor = "pointer";
    network.redraw();
  });
  network.on("hoverEdge", (event) => {
    const edge = edges.get(event.edge);
    if (hovered !== null || !edge.words) return;
    tip((box) => box.append(
      make("div", "meta", byId.get(edge.from).caption + " — " + byId.get(edge.to).caption),
      make("p", "words", edge.words)), event);
  });
  function leave() {
    hovered = null;
    $("tip").hidden = true;
    $("mynetwork").style.cursor = "";
    network.redraw();
  }
  network.on("blurNode", leave);
  network.on("blurEdge", () => { if (hovered === null) $("tip").hidden = true; });
  network.on("click", (event) => {
    const node = event.nodes.length ? byId.get(event.nodes[0]) : null;
    const edge = !node && event.edges.length ? edges.get(event.edges[0]) : null;
    if (node && node.opens !== undefined) say({ type: "librarian:open", name: node.opens });
    else select(node ? node.id : null, true);
    if (edge && edge.one) say({ type: "librarian:edge", source: byId.get(edge.from).name, target: byId.get(edge.to).name });
  });
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.source === window) return;
    if (!event.data || event.data.type !== "librarian:show" || typeof event.data.name !== "string") return;
    const node = all.find((one) => one.opens === undefined && one.name === event.data.name);
    if ((node ? node.id : null) === selected || (!node && selected === quiet)) return;
    select(node ? node.id : null, false);
    const at = node && network.canvasToDOM(place.get(node.id) || node);
    const view = $("mynetwork");
    if (node && (at.x < 0 || at.y < 0 || at.x > view.clientWidth || at.y > view.clientHeight)) approach(node.id);
  });
  network.on("doubleClick", (event) => { if (event.nodes.length) approach(event.nodes[0]); });
  network.on("dragStart", () => { moved = true; leave(); });
  network.on("zoom", () => { moved = true; $("tip").hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") select(null); });

  for (const entry of document.querySelectorAll("#legend button")) {
    entry.onclick = () => {
      const group = entry.dataset.group;
      const off = !hiddenGroups.delete(group);
      if (off) hiddenGroups.add(group);
      entry.setAttribute("aria-pressed", String(!off));
      nodes.update(all.filter((node) => node.group === group).map(({ id }) => ({ id, hidden: off })));
      edges.update(edges.get({ filter: (edge) => byId.get(edge.from).group === group || byId.get(edge.to).group === group })
        .map((edge) => ({ id: edge.id, hidden: !shown(edge.from) || !shown(edge.to) })));
    };
  }

  /* ---- the view ---- */
  function fit(smooth) {
    moved = false;
    const visible = all.filter((node) => shown(node.id));
    const at = network.getPositions();
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const node of visible.length ? visible : all) {
      const { x, y } = at[node.id] || node;
      box[0] = Math.min(box[0], x - node.size);
      box[1] = Math.min(box[1], y - node.size);
      box[2] = Math.max(box[2], x + node.size);
      box[3] = Math.max(box[3], y + node.size);
    }
    const width = $("mynetwork").clientWidth, height = $("mynetwork").clientHeight;
    if (!width || !height) return; /* in a tab that is not shown; the observer calls again */
    const left = width > 700 ? $("legend").offsetWidth + 36 : 24, right = 72, top = 64,
      bottom = width > 700 ? 40 : $("legend").offsetHeight + 28;
    const scale = Math.min((width - left - right) / (box[2] - box[0]),
      Math.max(height - top - bottom, 80) / (box[3] - box[1]), 1.25);
    network.moveTo({
      position: {
        x: (box[0] + box[2]) / 2 - (left - right) / 2 / scale,
        y: (box[1] + box[3]) / 2 - (top - bottom) / 2 / scale,
      },
      scale,
      animation: smooth ? animation : false,
    });
  }
  function zoom(by) {
    moved = true;
    network.moveTo({ scale: network.getScale() * by, animation: still ? false : { duration: 150 } });
  }
  $("fit").onclick = () => fit(true);
  $("closer").onclick = () => zoom(1.4);
  $("further").onclick = () => zoom(1 / 1.4);
  $("full").hidden = !document.fullscreenEnabled;
  $("full").onclick = () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen().catch(() => { $("full").hidden = true; });
  };
  $("picture").onclick = () => {
    const source = document.querySelector("#mynetwork canvas"), copy = document.createElement("canvas");
    copy.width = source.width;
    copy.height = source.height;
    const ctx = copy.getContext("2d");
    ctx.fillStyle = theme.back;
    ctx.fillRect(0, 0, copy.width, copy.height);
    ctx.drawImage(source, 0, 0);
    copy.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = "graph.png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }, "image/png");
  };
  new ResizeObserver(() => { if (!moved) requestAnimationFrame(() => fit(false)); }).observe($("mynetwork"));
  fit(false);
  document.documentElement.dataset.ready = "yes";
  if (inPage) say({ type: "librarian:ready" });
})();

"use strict";
const all = (query, root = document) => [...root.querySelectorAll(query)];
const find = document.getElementById("find");

// A link to an experiment opens it, and whatever it is folded into.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || target.tagName !== "DETAILS") return;
  target.hidden = false;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") { at.open = true; at.hidden = false; }
  target.scrollIntoView();
  target.querySelector("summary").focus({ preventScroll: true });
}
addEventListener("hashchange", reveal);
addEventListener("click", event => {
  const link = event.target.closest("a[href^='#experiment-']");
  if (link && link.getAttribute("href") === location.hash) setTimeout(reveal);
});
reveal();

// Tables sort by their data; empty cells stay at the end.
for (const table of all("table.sortable")) {
  const heads = all("thead th", table), body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.matches(".number, .fit") || all("tr", body).every(row => !isNaN(row.cells[column].dataset.v));
    const now = head.getAttribute("aria-sort");
    const down = now ? now === "ascending" : head.matches(".fit, .word");
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.v;
    const order = (a, b) => numeric ? a - b : a.localeCompare(b);
    body.append(...[...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return down ? order(y, x) : order(x, y);
    }));
  }));
}

// What a mark's title says is shown at once, for the pointer and for the keyboard.
const tip = document.getElementById("tip");
for (const mark of all("a.point, a.node")) {
  const title = mark.querySelector("title");
  mark.setAttribute("aria-label", title.textContent.replace(/\s*\n\s*/g, "; "));
  mark.dataset.tip = title.textContent.trim();
  title.remove();
}
function show(event) {
  // The pointer may lie anywhere while the keyboard moves on.
  const at = one => one && one.closest && one.closest("[data-tip]");
  const mark = at(event.target) || at(document.querySelector(":focus-visible"));
  tip.hidden = !mark;
  light(mark && mark.dataset.node);
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const box = (mark.querySelector(".hit, rect") || mark).getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = scrollX + Math.max(8, Math.min(room, box.left + box.width / 2 - tip.offsetWidth / 2)) + "px";
  const above = box.top - tip.offsetHeight - 6;
  tip.style.top = scrollY + (above > 0 ? above : box.bottom + 6) + "px";
}
addEventListener("pointerover", show);
addEventListener("focusin", show);
addEventListener("focusout", () => { tip.hidden = true; });
addEventListener("keydown", event => { if (event.key === "Escape") tip.hidden = true; });

// The ancestors of a node stand out while it is pointed at.
const edges = all(".edge");
function light(node) {
  edges.forEach(edge => edge.classList.remove("lit"));
  for (let line = node ? [node] : []; line.length;) {
    const child = line.pop();
    for (const edge of edges) if (edge.dataset.to === child && !edge.classList.contains("lit")) {
      edge.classList.add("lit");
      line.push(edge.dataset.from);
    }
  }
}

// Programs are coloured when they are first seen, and can be copied.
const TOKEN = /(#.*)|("""[^]*?"""|'''[^]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\b(?:(def|class)(\s+)(\w+)|(and|as|assert|break|continue|del|elif|else|except|finally|for|from|if|import|in|is|lambda|not|or|pass|raise|return|try|while|with|yield|None|True|False))\b/g;
function colour(code) {
  const text = code.textContent, parts = [];
  const span = (kind, words) => { const one = document.createElement("span"); one.className = kind; one.textContent = words; parts.push(one); };
  let from = 0;
  for (const hit of text.matchAll(TOKEN)) {
    parts.push(text.slice(from, hit.index));
    if (hit[1]) span("c", hit[1]);
    else if (hit[2]) span("s", hit[2]);
    else if (hit[3]) { span("k", hit[3]); parts.push(hit[4]); span("d", hit[5]); }
    else span("k", hit[6]);
    from = hit.index + hit[0].length;
  }
  code.replaceChildren(...parts, text.slice(from));
}
addEventListener("toggle", event => {
  for (const code of all(":scope > pre.program > code, :scope > .body .listing code", event.target))
    if (!code.dataset.seen) { code.dataset.seen = "1"; colour(code); }
}, true);
addEventListener("click", event => {
  if (!event.target.matches(".copy")) return;
  const code = event.target.parentElement.querySelector("code");
  const said = words => { event.target.textContent = words; setTimeout(() => { event.target.textContent = "Copy"; }, 1500); };
  const select = () => { getSelection().selectAllChildren(code); said(document.execCommand("copy") ? "Copied" : "Selected"); };
  if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => said("Copied"), select);
  else select();
});

// Finding and unfolding experiments.
if (find) {
  const experiments = all(".experiment"), groups = all(".group"), found = document.getElementById("found");
  const words = experiments.map(one => one.querySelector("summary").textContent.toLowerCase().replace(/\s+/g, " "));
  find.addEventListener("input", () => {
    const asked = find.value.trim().toLowerCase();
    let shown = 0;
    experiments.forEach((one, i) => { one.hidden = !words[i].includes(asked); shown += !one.hidden; });
    groups.forEach(group => { group.hidden = !group.querySelector(".experiment:not([hidden])"); group.open = asked !== ""; });
    found.textContent = asked ? `${shown} of ${experiments.length}` : "";
  });
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.textContent === "Open all";
    for (const one of [...groups, ...experiments]) if (!one.hidden) one.open = open;
    unfold.textContent = open ? "Close all" : "Open all";
  });
}

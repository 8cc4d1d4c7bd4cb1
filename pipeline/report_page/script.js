"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("rows").textContent);
  const state = { table: "pairs", found: [], place: 0 };
  const plain = data.texts.map((html) => html.replace(/<[^>]*>/g, " ").toLowerCase());

  // Everything but texts, which were sanitised when the page was made, goes in as plain text.
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const draw = (tag, attributes = {}, text = "") => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };
  const link = (url, text) =>
    /^https?:\/\//.test(url)
      ? make("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, text)
      : null;
  const date = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().slice(0, 10) : "date unknown");
  const signed = (number) => (number > 0 ? "+" : number < 0 ? "−" : "") + Math.abs(number);
  const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

  // Views: the figures, and the rows.
  const show = (view) => {
    for (const name of ["figures", "browse"]) {
      $(name).hidden = name !== view;
      $(`to-${name}`).setAttribute("aria-pressed", String(name === view));
    }
  };

  // Filters.
  const filters = ["site", "language", "split", "rule", "reason", "longer"];
  const ranges = ["margin", "confidence", "similarity"];
  const used = {
    pairs: ["site", "language", "split", "margin", "confidence", "longer"],
    duplicates: ["site", "rule", "similarity"],
    rejected: ["site", "reason"],
  };
  const texts = {
    pairs: (row) => [row.prompt, row.chosen, row.rejected].map((post) => post.text),
    duplicates: (row) => [row.removedText, row.keptText],
    rejected: (row) => [row.text],
  };
  const fill = () => {
    for (const name of filters) {
      const box = $(`f-${name}`);
      box.closest("label").hidden = !used[state.table].includes(name);
      if (name === "longer") continue;
      const counts = new Map();
      for (const row of data[state.table])
        if (row[name]) counts.set(row[name], (counts.get(row[name]) || 0) + 1);
      box.replaceChildren(make("option", { value: "" }, "all"));
      for (const [value, n] of [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)))
        box.append(make("option", { value }, `${value} (${n})`));
    }
    for (const name of ranges) $(`f-${name}`).hidden = !used[state.table].includes(name);
    for (const option of $("sort").options) {
      const tables = option.dataset.tables;
      option.hidden = option.disabled = Boolean(tables) && !tables.includes(state.table);
    }
  };
  const passes = (row) => {
    for (const name of used[state.table]) {
      if (ranges.includes(name)) {
        const low = $(`${name}-min`).value, high = $(`${name}-max`).value;
        if (low !== "" && row[name] < Number(low)) return false;
        if (high !== "" && row[name] > Number(high)) return false;
      } else if (name === "longer") {
        const chosenValue = $("f-longer").value, by = Number($("longer-by").value) || 0;
        if (chosenValue === "" && by && !(Math.abs(row.longer) >= by)) return false;
        if (chosenValue === "chosen" && !(row.longer > 0 && row.longer >= by)) return false;
        if (chosenValue === "rejected" && !(row.longer < 0 && -row.longer >= by)) return false;
      } else {
        const chosenValue = $(`f-${name}`).value;
        if (chosenValue !== "" && row[name] !== chosenValue) return false;
      }
    }
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return true;
    const fields = [row.id, row.kept, row.title, row.detail, row.reason, ...(row.tags || [])];
    for (const side of ["prompt", "chosen", "rejected"])
      if (row[side] && row[side].author) fields.push(row[side].author, row[side].id);
    const all = fields.filter(Boolean).join(" ").toLowerCase();
    const bodies = texts[state.table](row).filter((place) => place !== null);
    return words.every((word) => all.includes(word) || bodies.some((place) => plain[place].includes(word)));
  };
  const orders = {
    margin: (a, b) => b.margin - a.margin,
    sure: (a, b) => b.confidence - a.confidence,
    unsure: (a, b) => a.confidence - b.confidence,
    longer: (a, b) => b.longer - a.longer,
    shorter: (a, b) => a.longer - b.longer,
    alike: (a, b) => b.similarity - a.similarity,
  };
  const search = () => {
    state.found = data[state.table].filter(passes);
    const order = orders[$("sort").value];
    if (order) state.found.sort(order);
    const all = data[state.table].length, total = data.totals[state.table];
    const part = all < total
      ? `${count(all, "row")} in this page: a stratified random sample of ${total.toLocaleString("en")}`
      : `all ${count(total, "row")}`;
    $("found").textContent = `${state.found.length.toLocaleString("en")} found (of ${part})`;
    const items = state.found.slice(0, 1000).map((row, place) => {
      const item = make("li", { role: "option", id: `row-${place}`, "aria-selected": "false" },
        make("span", { class: "title", dir: "auto" }, row.title || row.id), make("small", {}, summary(row)));
      item.addEventListener("click", () => open(place, true));
      return item;
    });
    $("list").replaceChildren(...items);
    open(0);
  };
  const summary = (row) => {
    if (state.table === "pairs")
      return `${row.site} · margin ${row.margin} · confidence ${row.confidence.toFixed(2)}`;
    const id = row.title === row.id ? "" : ` · ${row.id}`;
    if (state.table === "duplicates") return `${row.rule} · similarity ${row.similarity.toFixed(2)}${id}`;
    return `${row.stage}: ${row.reason}${id}`;
  };

  // One row.
  const body = (place, without) => {
    if (place === null || place === undefined) return make("p", { class: "note text" }, without);
    const node = make("div", { class: "text", dir: "auto" });
    node.innerHTML = data.texts[place];
    for (const table of node.querySelectorAll("table")) {
      const box = make("div", { class: "wide" });
      table.replaceWith(box);
      box.append(table);
    }
    if (data.texts[place].length > 4000) { node.classList.add("long"); node.tabIndex = 0; }
    return node;
  };
  const card = (kind, title, meta, place, without) =>
    make("section", { class: `card ${kind}`, "aria-label": title },
      make("h3", {}, title), make("div", { class: "meta" }, ...meta), body(place, without));
  const between = (parts) =>
    parts.filter(Boolean).flatMap((part, place) => (place ? [" · ", part] : [part]));
  const details = (title, rows) => {
    const list = make("dl");
    for (const [name, value] of rows.filter(([, value]) => value !== null && value !== ""))
      list.append(make("dt", {}, name), make("dd", { dir: "auto" }, value));
    return make("section", { class: "card reason", "aria-label": title }, make("h3", {}, title), list);
  };
  const curve = (row) => {
    const sides = ["chosen", "rejected"];
    if (sides.some((side) => row[side].curve === null)) return null;
    const DAY = 86400, born = sides.map((side) => Math.floor(row[side].at / DAY));
    const days = sides.flatMap((side) => row[side].curve.map(([day]) => day));
    if (!days.length) return null;
    const first = Math.min(...born, ...days), last = Math.max(...days, ...born, first + 1);
    const values = sides.flatMap((side) => row[side].curve.map(([, votes]) => votes));
    const low = Math.min(0, ...values), high = Math.max(1, ...values);
    const W = 640, H = 130, x = (day) => 34 + ((day - first) / (last - first)) * (W - 44);
    const y = (votes) => 10 + ((high - votes) / (high - low)) * (H - 40);
    const svg = draw("svg", { class: "curve", viewBox: `0 0 ${W} ${H}`, role: "img",
      "aria-label": "net votes over time, chosen and rejected" });
    const both = Math.max(...born);
    svg.append(draw("rect", { class: "window", x: x(both), y: 6, width: Math.max(0, x(last) - x(both)), height: H - 34 }));
    svg.append(draw("line", { x1: 34, x2: W - 10, y1: y(0), y2: y(0) }));
    for (const side of sides) {
      let path = `M${x(born[sides.indexOf(side)])} ${y(0)}`;
      for (const [day, votes] of row[side].curve) path += `H${x(day)}V${y(votes)}`;
      svg.append(draw("path", { class: side, d: `${path}H${x(last)}` }));
    }
    svg.append(draw("text", { class: "end", x: 29, y: y(high) + 4 }, String(high)), draw("text", { class: "end", x: 29, y: y(0) + 4 }, "0"));
    svg.append(draw("text", { x: 34, y: H - 8 }, date(first * DAY)), draw("text", { class: "end", x: W - 10, y: H - 8 }, date(last * DAY)));
    return make("section", { class: "card" }, make("h3", {}, "Votes over time"), svg,
      make("p", { class: "note text" }, "Net votes: chosen solid, rejected dashed. Shaded: both responses existed."));
  };
  const pair = (row) => {
    const meta = (post, extra) => between([...extra, post.author || "unknown or deleted account",
      date(post.at), post.license, link(post.url, "source")]);
    const answer = (side) => card(side, `${side === "chosen" ? "Chosen" : "Rejected"} · score ${row[side].score}`,
      meta(row[side], [row[side].accepted ? "accepted" : null]), row[side].text,
      "The dataset holds ids and labels, no texts.");
    const [windowChosen, windowRejected] = row.window;
    const gap = row.chosen.at && row.rejected.at ? (row.rejected.at - row.chosen.at) / 86400 : null;
    const apart = gap === null ? "" : Math.abs(gap) >= 1 ? `${Math.abs(gap).toFixed(Math.abs(gap) < 10 ? 1 : 0)} days`
      : Math.abs(gap) >= 1 / 24 ? `${(Math.abs(gap) * 24).toFixed(1)} hours` : `${(Math.abs(gap) * 1440).toFixed(0)} minutes`;
    return [
      card("", "Prompt", meta(row.prompt, [row.turns ? count(row.turns, "turn") + " above" : null]), row.prompt.text,
        "The dataset holds ids and labels, no texts."),
      make("div", { class: "sides" }, answer("chosen"), answer("rejected")),
      curve(row),
      details("Why is this pair here?", [
        ["label", `${row.chosen.score} > ${row.rejected.score} under votes = ${data.recipe.votes}, margin ${row.margin}`],
        ["recipe", Object.entries(data.recipe).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ")],
        ["confidence", `${row.confidence.toFixed(3)}: probability that later votes put the chosen response ahead`],
        ["votes since both existed", windowChosen === null ? "not dated" :
          `chosen ${signed(windowChosen)}, rejected ${signed(windowRejected)}: ` +
          (windowChosen > windowRejected ? "agree with the label" : windowChosen < windowRejected ? "disagree with the label" : "tied")],
        ["dates", gap === null ? "not known" : gap === 0 ? "posted at the same time" :
          `the chosen response came ${apart} ${gap > 0 ? "earlier" : "later"}`],
        ["length", row.longer === null ? null : `the chosen response is ${count(Math.abs(row.longer), "character")} ${row.longer < 0 ? "shorter" : "longer"}`],
        ["split", row.split], ["language", row.language], ["site", row.site], ["tags", row.tags.join(", ")], ["thread", row.thread],
      ]),
    ];
  };
  const without = "Its text is not at hand: the dataset holds the id alone, and the run's sample of threads does not have it.";
  const duplicate = (row) => [
    make("div", { class: "sides" },
      card("rejected", "Removed", between([row.id, link(row.removedUrl, "source")]), row.removedText,
        row.rule === "exact" ? "Equal to the kept post but for case and spacing." : without),
      card("chosen", "Kept in its place", between([row.kept, link(row.keptUrl, "source")]), row.keptText, without)),
    details("Why was it removed?", [
      ["of", row.kept], ["similarity", `${row.similarity} (Jaccard, of word shingles)`], ["rule", `${row.rule}: ${data.rules[row.rule] || ""}`],
    ]),
  ];
  const reject = (row) => [
    card("rejected", "Left out", between([row.id, link(row.url, "source")]), row.text, row.record === "post" ? without : `A record of kind ${row.record}.`),
    details("Why is it not in a pair?", [
      ["stage", row.stage], ["reason", `${row.reason}: ${data.reasons[row.reason] || ""}`], ["detail", row.detail], ["record", row.record], ["site", row.site],
    ]),
  ];
  const views = { pairs: pair, duplicates: duplicate, rejected: reject };
  const open = (place, jump = false) => {
    const row = state.found[place];
    $("list").querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    state.place = place;
    $("prev").disabled = place <= 0;
    $("next").disabled = place >= state.found.length - 1;
    if (!row) {
      $("which").textContent = "";
      $("row").replaceChildren(make("p", { class: "note" }, "No row passes these filters."));
      $("list").removeAttribute("aria-activedescendant");
      return;
    }
    const item = $(`row-${place}`);
    if (item) {
      item.setAttribute("aria-selected", "true");
      $("list").setAttribute("aria-activedescendant", item.id);
      const box = $("list");
      const top = item.offsetTop - box.offsetTop;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + item.offsetHeight > box.scrollTop + box.clientHeight)
        box.scrollTop = top + item.offsetHeight - box.clientHeight;
    }
    $("which").textContent = row.id;
    $("row").replaceChildren(...views[state.table](row).filter(Boolean));
    if (jump && matchMedia("(max-width:820px)").matches) $("detail").scrollIntoView();
  };
  const step = (by) => {
    const place = state.place + by;
    if (place >= 0 && place < state.found.length) open(place);
  };
  const choose = (table) => {
    state.table = table;
    for (const name of Object.keys(views)) $(`tab-${name}`).setAttribute("aria-selected", String(name === table));
    $("sort").value = "";
    fill();
    search();
  };

  // Wiring.
  for (const name of ["figures", "browse"]) $(`to-${name}`).addEventListener("click", () => show(name));
  for (const name of Object.keys(views)) $(`tab-${name}`).addEventListener("click", () => choose(name));
  let waiting = 0;
  $("filters").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("clear").addEventListener("click", () => { $("filters").reset(); search(); });
  $("prev").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.key === "f") return show("figures");
    if (event.key === "b") return show("browse");
    if ($("browse").hidden) return;
    const inList = event.target === $("list");
    if (event.key === "j" || event.key === "ArrowRight" || (inList && event.key === "ArrowDown")) step(1);
    else if (event.key === "k" || event.key === "ArrowLeft" || (inList && event.key === "ArrowUp")) step(-1);
    else if (event.key === "/") $("search").focus();
    else if ("123".includes(event.key)) choose(Object.keys(views)[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  });
  for (const name of Object.keys(views)) {
    const all = data[name].length;
    $(`tab-${name}`).append(` (${data.totals[name].toLocaleString("en")})`);
    $(`tab-${name}`).disabled = all === 0;
  }
  choose("pairs");
  const [view, table] = location.hash.slice(1).split("/");
  show(view === "browse" ? "browse" : "figures");
  if (view === "browse" && views[table]) choose(table);
  document.documentElement.dataset.ready = "yes";
})();

"use strict";
{
const data = (name) => JSON.parse(document.getElementById("data-" + name).textContent);
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) name === "class" ? (element.className = value) : (element[name] = value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

// Charts. They are drawn as SVG with the text's own colour, so light, dark and print need no second drawing.
const config = data("config");
const drawing = Object.entries(data("charts")).map(([key, spec]) =>
  vegaEmbed("#chart-" + key, spec, { renderer: "svg", actions: false, config }).catch((error) => console.error(key, error)));
Promise.all(drawing).then(() => { document.body.dataset.drawn = drawing.length; });

// Tables that are wider than the page: a card for each row.
const fit = () => {
  for (const each of document.querySelectorAll(".scroll")) {
    each.classList.remove("cards");
    each.classList.toggle("cards", each.scrollWidth > each.clientWidth);
  }
};
fit();
addEventListener("resize", fit);

// Trees.
const runs = data("trees");
const $ = (name) => document.getElementById("tree-" + name);
const fill = (select, options, chosen) => {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
};
const run = () => runs[Number($("run").value)];
const problem = () => run().problems.find((each) => each.kind + " " + each.id === $("problem").value);

function branch([text, answers, correct, state, why, value, visits, children], open) {
  const bar = make("span", { class: answers ? "bar" : "bar none", title: answers ? `${correct} of ${answers} answers correct` : "no answer ended here" }, make("i"));
  bar.firstChild.style.width = (100 * correct) / Math.max(1, answers) + "%";
  const told = [answers > 1 ? `${correct}/${answers}` : null, value !== null ? `v ${value.toFixed(2)}` : null, visits ? `n ${visits}` : null];
  const row = make("span", { class: "row" }, bar, make("span", { class: "step", textContent: text.replace(/\n$/, "") || "(nothing)" }),
    make("span", { class: "meta", textContent: told.filter(Boolean).join("  ") }), state ? make("b", { class: state, textContent: state, title: why }) : null);
  if (!children.length) return make("li", { class: "leaf" }, row, why && state !== "correct" ? make("div", { class: "meta", textContent: why.slice(0, 300) }) : null);
  const below = make("ul");
  const details = make("details", { open }, make("summary", {}, row), below);
  const grow = () => { if (!below.children.length) below.append(...children.map((child) => branch(child, children.length === 1))); };
  details.addEventListener("toggle", () => { if (details.open) grow(); });
  if (open) grow();
  return make("li", {}, details);
}

function show(place, label) {
  const tree = label && problem() && problem().trees[label];
  place.replaceChildren();
  place.style.display = label ? "" : "none";
  place.parentElement.classList.toggle("two-trees", $("right").value !== "");
  if (!tree) return;
  const [, answers, correct, , , , , children] = tree;
  place.append(make("h3", { textContent: `${label}: ${correct} of ${answers} answers correct` }), make("ul", {}, ...children.map((child) => branch(child, false))));
}

function trees() { show($("a"), $("left").value); show($("b"), $("right").value); }

function choose() {
  const each = problem();
  $("prompt").replaceChildren();
  if (!each) return fill($("left"), []), fill($("right"), []), trees();
  $("prompt").append(make("pre", { textContent: each.prompt }), make("p", { textContent: `${each.kind}, level ${each.level}` + (each.answer ? `, answer: ${each.answer.slice(0, 400)}` : "") }));
  const labels = Object.keys(each.trees).map((label) => [label, label]);
  fill($("left"), labels, labels[0][0]);
  fill($("right"), [["", "nothing"], ...labels], labels.length > 1 ? labels[labels.length - 1][0] : "");
  trees();
}

function list(wanted) {
  const word = $("find").value.toLowerCase();
  const fits = run().problems.filter((each) => !word || (each.id + " " + each.prompt).toLowerCase().includes(word));
  const said = (each) => `${each.kind === "held-out" ? "" : "searched: "}${each.prompt.replace(/\s+/g, " ").slice(0, 80)} (level ${each.level})`;
  const of = (id) => wanted === "held-out " + id.split("/")[0]; // a problem asked in several ways has several trees
  const first = fits.find((each) => each.kind === "held-out" && of(each.id));
  fill($("problem"), fits.map((each) => [each.kind + " " + each.id, said(each)]), first ? "held-out " + first.id : undefined);
  choose();
}

fill($("run"), runs.map((each, i) => [String(i), each.run]));
$("run").parentElement.style.display = runs.length > 1 ? "" : "none";
$("run").onchange = () => list();
$("find").oninput = () => list();
$("problem").onchange = choose;
$("left").onchange = $("right").onchange = trees;
for (const link of document.querySelectorAll("a[data-problem]")) {
  link.onclick = () => { $("run").value = link.dataset.run; $("find").value = ""; list("held-out " + link.dataset.problem); };
}
list();
}

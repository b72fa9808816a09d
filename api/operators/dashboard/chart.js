// Small charts as SVG, each with its meaning in words for those who do not see it.

import { el, svg } from "/dashboard/dom.js";
import { looks, number, shortTime, span, words } from "/dashboard/words.js";

const WIDTH = 600;
const HEIGHT = 100;

function nice(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= most);
}

function paths(points, top) {
  const at = (value, index) =>
    `${((index + 0.5) * WIDTH) / points.length} ${HEIGHT - (Math.max(0, value) * HEIGHT) / top}`;
  let path = "";
  let drawing = false;
  const dots = [];
  points.forEach((value, index) => {
    if (value === null) {
      drawing = false;
      return;
    }
    path += `${drawing ? "L" : "M"}${at(value, index)}`;
    // a point between two gaps would be no line
    if (!drawing && (points[index + 1] ?? null) === null) dots.push(at(value, index).split(" "));
    drawing = true;
  });
  return { path, dots };
}

/**
 * Lines over time.
 *   name: what it shows. unit. series: [{name, points}] of equal length, null where nothing is known. since, until: ISO.
 *   sum: whether the series add up to something that is named in the words.
 */
export function chart({ name, unit = "", series, since, until, format = number }) {
  const drawn = series.filter((one) => one.points.some((value) => value !== null));
  if (!drawn.length)
    return el(
      "figure",
      { className: "chart" },
      el("figcaption", {}, name),
      el("p", { className: "empty" }, "Nothing was written in this time."),
    );
  const all = drawn.flatMap((one) => one.points.filter((value) => value !== null));
  const top = nice(Math.max(...all));
  const shown = (value) => `${format(value)}${unit ? ` ${unit}` : ""}`;
  const said = drawn.map((one) => {
    const known = one.points.filter((value) => value !== null);
    return `${one.name}: least ${shown(Math.min(...known))}, most ${shown(Math.max(...known))}, last ${shown(known.at(-1))}`;
  });
  const lines = drawn.map((one, at) => {
    const { path, dots } = paths(one.points, top);
    return svg(
      "g",
      { class: `series s${at % 6}` },
      svg("path", { d: path, "vector-effect": "non-scaling-stroke" }),
      // round caps of a line without length: a circle would be stretched with the drawing
      dots.map(([x, y]) => svg("path", { class: "dot", d: `M${x} ${y}h0.01`, "vector-effect": "non-scaling-stroke" })),
    );
  });
  const grid = [0, 0.5, 1].map((part) =>
    svg("line", {
      class: "grid",
      x1: 0,
      x2: WIDTH,
      y1: HEIGHT * part,
      y2: HEIGHT * part,
      "vector-effect": "non-scaling-stroke",
    }),
  );
  return el(
    "figure",
    { className: "chart" },
    el(
      "figcaption",
      {},
      name,
      drawn.length > 1 || drawn[0].name !== name
        ? el(
            "span",
            { className: "legend" },
            drawn.map((one, at) =>
              el(
                "span",
                {},
                el("i", { className: `swatch s${at % 6}`, "aria-hidden": "true" }),
                `${one.name} `,
                el("b", {}, shown(one.points.filter((value) => value !== null).at(-1))),
              ),
            ),
          )
        : "",
    ),
    el(
      "div",
      { className: "plot" },
      el("span", { className: "most", "aria-hidden": "true" }, shown(top)),
      svg(
        "svg",
        {
          viewBox: `0 -3 ${WIDTH} ${HEIGHT + 6}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": `${name}. ${said.join("; ")}`,
        },
        grid,
        lines,
      ),
    ),
    el(
      "div",
      { className: "axis", "aria-hidden": "true" },
      el("span", {}, shortTime(since)),
      el("span", {}, shortTime(until)),
    ),
  );
}

/** What a slot was over time, as a bar: [{state, from, until}]; before the first one it was `before`. */
export function timeline({ name, states, since, until, before = "unknown" }) {
  const from = Date.parse(since);
  const length = Date.parse(until) - from;
  const first = states.length ? Date.parse(states[0].from) : Date.parse(until);
  const all = [{ state: before, from: since, until: new Date(first).toISOString() }, ...states].filter(
    (one) => Date.parse(one.until) > Date.parse(one.from),
  );
  const total = {};
  for (const one of all)
    total[one.state] = (total[one.state] ?? 0) + (Date.parse(one.until) - Date.parse(one.from)) / 1000;
  const said = Object.entries(total)
    .map(([state, seconds]) => `${words(state)} for ${span(seconds)}`)
    .join(", ");
  const bars = all.map((one) => {
    const x = ((Date.parse(one.from) - from) * WIDTH) / length;
    // what lasted for a moment is still seen
    const width = Math.max(3, ((Date.parse(one.until) - Date.parse(one.from)) * WIDTH) / length);
    const look = looks(one.state);
    const height = look === "good" ? 6 : 20;
    return svg(
      "rect",
      { class: `t-${look}`, x: Math.min(x, WIDTH - 3), y: 20 - height, width, height },
      svg(
        "title",
        {},
        `${words(one.state)} from ${shortTime(one.from)} for ${span((Date.parse(one.until) - Date.parse(one.from)) / 1000)}`,
      ),
    );
  });
  return svg(
    "svg",
    {
      class: "timeline",
      viewBox: `0 0 ${WIDTH} 20`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${name}: ${said}`,
    },
    bars,
  );
}

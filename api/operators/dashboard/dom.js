// Elements, without any parsing of HTML: texts of others stay texts.

const SVG = "http://www.w3.org/2000/svg";
const LISTENERS = ["onclick", "onsubmit", "onchange", "oninput", "ontoggle"];

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (LISTENERS.includes(name)) node[name] = value;
    else node.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  node.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== "" && child !== false),
  );
  return node;
}

/** An element: attributes by name (`className` is `class`), listeners as `onclick`, children as texts and nodes. */
export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  made(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

const keyOf = (node) => node.dataset?.key ?? "";

function update(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // a form that somebody fills in, or a part that draws itself
  if (old.dataset.keep !== undefined && fresh.dataset.keep === old.dataset.keep) return;
  for (const { name } of [...old.attributes])
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes])
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of LISTENERS) old[name] = fresh[name];
  morph(old, fresh);
}

/** Make the children of `target` like those of `source`, keeping what is the same: focus, selection, open details and
 *  the place of the eye survive a refresh. Elements with `data-key` are recognised by it, others by their place. */
export function morph(target, source) {
  const keyed = new Map();
  for (const child of target.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = target.firstChild;
  for (const fresh of [...source.childNodes]) {
    const key = keyOf(fresh);
    const match = key ? keyed.get(key) : at && at.nodeName === fresh.nodeName && !keyOf(at) ? at : null;
    if (match && match.nodeName === fresh.nodeName) {
      if (match === at) at = at.nextSibling;
      else target.insertBefore(match, at);
      update(match, fresh);
    } else target.insertBefore(fresh, at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

/** Show nodes in place of the children of `target`, keeping what is the same. */
export const show = (target, ...nodes) => morph(target, made(document.createElement("div"), {}, nodes));

/** Say something to screen readers. */
export function announce(text) {
  const said = byId("said");
  // the same words twice are said twice
  said.textContent = said.textContent === text ? `${text} ` : text;
}

/** An address of this page, with a query of what is given. */
export function href(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#${path}${text ? `?${text}` : ""}`;
}

export const link = (path, query, ...children) => el("a", { href: href(path, query) }, ...children);
export const button = (label, onclick, attributes = {}) =>
  el("button", { type: "button", onclick, ...attributes }, label);

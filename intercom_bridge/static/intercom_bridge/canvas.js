// Draws a canvas of Canvas Kit as the Inbox does, and says where it is none.
// Components and limits: https://developers.intercom.com/docs/references/canvas-kit/

const KILOBYTE = 1024;
const SAVE_STATES = ["unsaved", "saved", "failed"];

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return made;
}

// --- What is a canvas ---------------------------------------------------------------------------

const anyText = (value) => typeof value === "string";
const someText = (value) => anyText(value) && value.trim() !== "";
const flag = (value) => typeof value === "boolean";
const oneOf = (...allowed) => (value) => allowed.includes(value);
const pixels = (value) => Number.isInteger(value) && value > 0;
const texts = (value) => Array.isArray(value) && value.every(anyText);
const address = (...schemes) => (value) => {
  try {
    return someText(value) && schemes.includes(new URL(value).protocol);
  } catch {
    return false;
  }
};
const submit = (value) => value?.type === "submit";
const opens = (value) => value?.type === "url" && address("http:", "https:")(value.url);
const action = (value) => submit(value) || opens(value);
const manyOf = (name, least, most) => (value) =>
  Array.isArray(value) && value.length >= least && value.length <= most
  && value.every((one) => one?.type === name && problemsOf(one, SHAPES[name]).length === 0);

const common = { disabled: flag };
const choice = { label: anyText, value: anyText, save_state: oneOf(...SAVE_STATES), ...common };

// [what must be there, what may be there]
const SHAPES = {
  text: [{ text: someText }, {
    id: anyText, align: oneOf("left", "center", "right"), style: oneOf("header", "paragraph", "muted", "error"),
    bottom_margin: oneOf("none"),
  }],
  button: [{ id: someText, label: someText, action }, { style: oneOf("primary", "secondary", "link"), ...common }],
  input: [{ id: someText }, {
    label: anyText, placeholder: anyText, value: anyText, action: submit, save_state: oneOf(...SAVE_STATES), ...common,
  }],
  textarea: [{ id: someText }, { label: anyText, placeholder: anyText, value: anyText, error: flag, ...common }],
  dropdown: [{ id: someText, options: manyOf("option", 2, 10) }, choice],
  "single-select": [{ id: someText, options: manyOf("option", 2, 10) }, { ...choice, action: submit }],
  checkbox: [{ id: someText, label: anyText, option: manyOf("option", 1, Infinity) },
    { value: texts, save_state: oneOf(...SAVE_STATES), ...common }],
  option: [{ id: someText, text: someText }, common],
  list: [{ items: manyOf("item", 1, Infinity) }, common],
  item: [{ id: someText, title: someText }, {
    subtitle: anyText, tertiary_text: anyText, image: address("https:"), image_width: pixels, image_height: pixels,
    rounded_image: flag, action, ...common,
  }],
  "data-table": [{ items: manyOf("field-value", 1, Infinity) }, {}],
  "field-value": [{ field: someText, value: someText }, {}],
  image: [{ url: address("https:"), width: pixels, height: pixels }, {
    id: anyText, align: oneOf("left", "center", "right", "full_width"), rounded: flag, bottom_margin: oneOf("none"),
    action: opens,
  }],
  divider: [{}, { id: anyText, bottom_margin: oneOf("none") }],
  spacer: [{}, { id: anyText, size: oneOf("xs", "s", "m", "l", "xl") }],
};

function problemsOf(component, [required, optional]) {
  const found = [];
  for (const [name, check] of Object.entries(required)) {
    if (!(name in component)) found.push(`${name} is missing`);
    else if (!check(component[name])) found.push(`${name} is not right`);
  }
  for (const [name, value] of Object.entries(component)) {
    if (name === "type" || name in required) continue;
    if (!(name in optional)) found.push(`${name} is not a property of it`);
    else if (!optional[name](value)) found.push(`${name} is not right`);
  }
  const ids = (component.options ?? component.option ?? []).map?.((option) => option?.id) ?? [];
  if (new Set(ids).size !== ids.length) found.push("two options have the same id");
  for (const chosen of [component.value].flat()) {
    if (ids.length && chosen && !ids.includes(chosen)) found.push(`the value ${chosen} is none of its options`);
  }
  return found;
}

/** Sentences about what is wrong with an answer; none when it is a valid canvas. */
export function problems(body) {
  const content = body?.canvas?.content;
  if (!Array.isArray(content?.components)) return ["The answer is no canvas: canvas.content.components is missing."];
  const found = [];
  if (content.components.length === 0) found.push("The canvas has no component.");
  const seen = new Set();
  content.components.forEach((component, index) => {
    const shape = component?.type !== "option" && component?.type !== "item" && SHAPES[component?.type];
    const name = `Component ${index + 1}${component?.type ? ` (${component.type})` : ""}`;
    if (!shape) found.push(`${name} is of no known type.`);
    else problemsOf(component, shape).forEach((one) => found.push(`${name}: ${one}.`));
    for (const id of [component?.id, ...(component?.items ?? []).map((item) => item?.id)]) {
      if (!id) continue;
      if (seen.has(id)) found.push(`The id ${id} is there twice.`);
      seen.add(id);
    }
  });
  for (const [name, part] of Object.entries({ content, stored_data: body.canvas.stored_data ?? {} })) {
    const size = new TextEncoder().encode(JSON.stringify(part)).length;
    if (size > 64 * KILOBYTE) found.push(`${name} has ${size} bytes; 64 KB is the limit.`);
  }
  return found;
}

/** What Intercom's guidelines ask of the first canvas of an Inbox app; `height` in pixels. */
export function adviceForFirst(body, height) {
  const found = [];
  if (height > 400) found.push(`The first screen is ${height} px high; Intercom's guidelines allow 400.`);
  if (body.canvas.content.components.some((one) => one.type === "button" && (one.style ?? "primary") === "primary")) {
    found.push("The first screen has a primary button; Intercom's guidelines do not allow one.");
  }
  return found;
}

// --- Text ---------------------------------------------------------------------------------------

/** The two Markdown forms that Canvas Kit knows, and nothing else. */
export function markdown(text) {
  const pieces = document.createDocumentFragment();
  const pattern = /\*\*(.+?)\*\*|\[([^\]]+)\]\(((?:https?:\/\/|mailto:)[^\s)]+)\)/gsu;
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    pieces.append(text.slice(end, found.index));
    if (found[1] !== undefined) pieces.append(element("strong", {}, markdown(found[1])));
    else pieces.append(element("a", { href: found[3], target: "_blank", rel: "noopener noreferrer" }, markdown(found[2])));
    end = found.index + found[0].length;
  }
  pieces.append(text.slice(end));
  return pieces;
}

// --- Drawing ------------------------------------------------------------------------------------

/**
 * Draws the components into `root`. `onSubmit(componentId, clickedElement)` is called for submit actions;
 * `valuesOf(root)` then answers what is filled in.
 */
export function draw(root, components, onSubmit) {
  const fields = element("fieldset", {});
  components.forEach((component, index) => {
    const drawer = DRAWERS[component?.type];
    const made = drawer
      ? drawer(component, { onSubmit, name: `canvas-${index}` })
      : element("div", { class: "unknown" }, `Unknown component: ${component?.type}`);
    made.classList.add("component");
    if (component?.bottom_margin === "none") made.classList.add("tight");
    fields.append(made);
  });
  root.replaceChildren(fields);
}

/** `{componentId: value}` of all that can be filled in; what nobody has chosen is left out. */
export function valuesOf(root) {
  const values = {};
  for (const field of root.querySelectorAll("[data-value-of]")) {
    const id = field.dataset.valueOf;
    if (field.dataset.kind === "checkbox") {
      values[id] = [...field.querySelectorAll("input:checked")].map((box) => box.value);
    } else if (field.dataset.kind === "single-select") {
      const chosen = field.querySelector("input:checked");
      if (chosen) values[id] = chosen.value;
    } else if (field.tagName !== "SELECT" || field.value !== "") {
      values[id] = field.value;
    }
  }
  return values;
}

function acting(component, className, children, context, disabled = component.disabled) {
  const does = component.action;
  const properties = { class: className, "data-component": component.id, "data-action": does?.type, dir: "auto" };
  if (does?.type === "url" && !disabled && opens(does)) {
    return element("a", { ...properties, href: does.url, target: "_blank", rel: "noopener noreferrer" }, ...children);
  }
  const button = element("button", { ...properties, type: "button", disabled: disabled === true }, ...children);
  if (does?.type === "submit") button.addEventListener("click", () => context.onSubmit(component.id, button));
  return button;
}

function labelled(component, context, field) {
  const state = component.error ? "failed" : component.save_state;
  const label = component.label && element("label", { class: "label", for: field.id, dir: "auto" }, component.label);
  return element("div", { class: `${component.type} ${state ?? ""}` }, label, context.wrapped ?? field);
}

function typed(tag, component, context) {
  const field = element(tag, {
    class: "field",
    id: context.name,
    dir: "auto",
    "data-value-of": component.id,
    "aria-label": component.label ? undefined : component.placeholder || component.id,
    "aria-invalid": component.error || component.save_state === "failed" ? "true" : undefined,
    placeholder: component.placeholder,
    autocomplete: "off",
    // What is saved is locked, whatever `disabled` says.
    disabled: component.disabled === true || component.save_state === "saved",
  });
  field.value = component.value ?? "";
  return field;
}

function choices(component, context, kind, options, chosen) {
  const locked = component.disabled === true || component.save_state === "saved";
  const boxes = options.map((option) => element(
    "label",
    { class: option.disabled || locked ? "off" : "", dir: "auto" },
    element("input", {
      type: kind === "checkbox" ? "checkbox" : "radio",
      name: context.name,
      value: option.id,
      checked: chosen.includes(option.id),
      disabled: option.disabled === true || locked,
      onchange: component.action ? (event) => context.onSubmit(component.id, event.target.parentElement) : undefined,
    }),
    element("span", {}, option.text),
  ));
  return element(
    "fieldset",
    { class: component.save_state ?? "" },
    component.label ? element("legend", { dir: "auto" }, component.label) : "",
    element("div", {
      class: `choices ${kind === "checkbox" ? "" : "single"}`, "data-value-of": component.id, "data-kind": kind,
    }, ...boxes),
  );
}

const DRAWERS = {
  text: (component) => element(
    component.style === "header" ? "h3" : "p",
    { class: `text ${component.style ?? "paragraph"} ${component.align ?? ""}`, dir: "auto", style: undefined },
    markdown(component.text ?? ""),
  ),

  button: (component, context) => {
    const style = component.style ?? "primary";
    return element(
      "div",
      { class: style === "link" ? "of-link" : "" },
      acting(component, `button ${style}`, [component.label], context),
    );
  },

  input: (component, context) => {
    const field = typed("input", component, context);
    if (component.action) {
      const go = element("button", {
        type: "button", "aria-label": `${component.label || component.placeholder || "Input"}: submit`,
        "data-component": component.id, disabled: field.disabled,
      }, "→");
      go.addEventListener("click", () => context.onSubmit(component.id, go));
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter") context.onSubmit(component.id, go);
      });
      return labelled(component, { ...context, wrapped: element("div", { class: "with-action" }, field, go) }, field);
    }
    return labelled(component, context, field);
  },

  textarea: (component, context) => labelled(component, context, typed("textarea", component, context)),

  dropdown: (component, context) => {
    const select = element("select", {
      class: "field", id: context.name, "data-value-of": component.id, dir: "auto",
      "aria-label": component.label ? undefined : component.id,
      disabled: component.disabled === true || component.save_state === "saved",
    });
    if (!component.value) select.append(element("option", { value: "" }, "Select…"));
    for (const option of component.options ?? []) {
      select.append(element("option", { value: option.id, disabled: option.disabled === true }, option.text));
    }
    select.value = component.value ?? "";
    return labelled(component, context, select);
  },

  "single-select": (component, context) =>
    choices(component, context, "single-select", component.options ?? [], [component.value]),

  checkbox: (component, context) =>
    choices(component, context, "checkbox", component.option ?? [], component.value ?? []),

  list: (component, context) => element(
    "ul",
    { class: "list" },
    ...(component.items ?? []).map((item) => {
      const picture = item.image && element("img", {
        src: item.image, width: item.image_width, height: item.image_height, alt: "",
        class: item.rounded_image ? "rounded" : "",
      });
      const lines = element(
        "span",
        { class: "lines", dir: "auto" },
        element("span", { class: "title" }, item.title),
        item.subtitle && element("span", { class: "subtitle" }, item.subtitle),
        item.tertiary_text && element("span", { class: "tertiary" }, item.tertiary_text),
      );
      const off = item.disabled === true || component.disabled === true;
      if (!item.action) return element("li", {}, element("div", { class: `item ${off ? "off" : ""}` }, picture, lines));
      return element("li", {}, acting(item, `item ${off ? "off" : "acts"}`, [picture, lines], context, off));
    }),
  ),

  "data-table": (component) => {
    const table = element("dl", { class: "table" });
    for (const row of component.items ?? []) {
      const value = element("dd", { dir: "auto" }, row.value);
      explainWhenCut(value);
      table.append(element("dt", { dir: "auto" }, row.field), value);
    }
    return table;
  },

  image: (component) => {
    const picture = element("img", {
      src: component.url, width: component.width, height: component.height, alt: "",
      class: `${component.rounded ? "rounded" : ""} ${component.align === "full_width" ? "full" : ""}`,
    });
    const shown = component.action
      ? element("a", { href: component.action.url, target: "_blank", rel: "noopener noreferrer" }, picture) : picture;
    return element("div", { class: component.align ?? "" }, shown);
  },

  divider: () => element("hr"),

  spacer: (component) => element("div", { class: `spacer ${component.size ?? "s"}` }),
};

// --- What the Inbox cuts off shows when pointed at ---------------------------------------------

function explainWhenCut(value) {
  let tooltip = null;
  const show = () => {
    if (tooltip || value.scrollWidth <= value.clientWidth) return;
    tooltip = element("div", { class: "tooltip", role: "tooltip" }, value.textContent);
    document.body.append(tooltip);
    const place = value.getBoundingClientRect();
    tooltip.style.top = `${place.bottom + 6}px`;
    tooltip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - tooltip.offsetWidth - 8))}px`;
  };
  const hide = () => {
    tooltip?.remove();
    tooltip = null;
  };
  value.addEventListener("mouseenter", show);
  value.addEventListener("mouseleave", hide);
  value.addEventListener("focus", show);
  value.addEventListener("blur", hide);
  // Only what is cut is a stop for the keyboard; how wide it is is known once it is drawn.
  requestAnimationFrame(() => {
    if (value.scrollWidth > value.clientWidth) value.tabIndex = 0;
  });
}

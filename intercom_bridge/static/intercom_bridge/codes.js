// Turn the fields of a ticket profile that contain codes into lists with labels, which can be sorted. The text area keeps
// the codes and is what is submitted, so that the page works without JavaScript, and codes of other classes can be typed.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const data = document.getElementById("bridge-choices");
  const ticketClass = document.querySelector("[name=ticket_class]");
  if (!data || !ticketClass) {
    return;
  }
  const choices = JSON.parse(data.textContent);
  const pickers = ["form_attributes", "details_attributes", "excluded_states"]
    .map((name) => picker(name, choices[name], { read: readCodes, write: writeCodes, isSortable: name !== "excluded_states" }));
  pickers.push(picker("defaults", choices.defaults, { read: readDefaults, write: writeDefaults, hasValues: true }));
  // The labels are those of the class that was saved.
  ticketClass.addEventListener("input", () => {
    for (const each of pickers) {
      each?.show(ticketClass.value.trim() === choices.ticket_class);
    }
  });
});

// An entry of a list is [code, value]. Lists of codes have no values.
function readCodes(text) {
  return text.split(/[\n,]/).map((code) => code.trim()).filter(Boolean).map((code) => [code, ""]);
}

function writeCodes(entries) {
  return entries.map(([code]) => code).join("\n");
}

function readDefaults(text) {
  const parsed = JSON.parse(text || "{}");
  const entries = Object.entries(parsed);
  if (Array.isArray(parsed) || entries.some(([, value]) => !["string", "number"].includes(typeof value))) {
    throw new SyntaxError("This is no object of texts and numbers.");
  }
  return entries.map(([code, value]) => [code, String(value)]);
}

function writeDefaults(entries) {
  return JSON.stringify(Object.fromEntries(entries));
}

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function picker(name, known, { read, write, isSortable = false, hasValues = false }) {
  const area = document.querySelector(`textarea[name=${name}]`);
  if (!area || !known.length) {
    return null;
  }
  const title = document.querySelector(`label[for=${area.id}]`)?.textContent.replace(/:$/, "") ?? name;
  const labels = new Map(known.map(([code, label]) => [code, label]));
  const valuesOf = new Map(known.map(([code, , values]) => [code, values ?? []]));
  const list = element("ol", { className: "bridge-picked" });
  const adder = element("select", { ariaLabel: `Add to ${title}` });
  const toggle = element("button", { type: "button", className: "bridge-toggle" });
  const box = element("div", { className: "bridge-picker" }, [list, adder]);
  area.before(box);
  area.after(toggle);
  let entries = [];

  const store = () => {
    area.value = write(entries);
    area.dispatchEvent(new Event("change", { bubbles: true }));
    draw();
  };
  const button = (text, label, isDisabled, onClick) => {
    const made = element("button", { type: "button", textContent: text, ariaLabel: label, title: label, disabled: isDisabled });
    made.addEventListener("click", onClick);
    return made;
  };
  const move = (from, to) => {
    entries.splice(to, 0, ...entries.splice(from, 1));
    store();
    list.children[to].querySelector("button:not(:disabled)")?.focus();
  };
  const valueInput = (entry) => {
    const [code, value] = entry;
    const values = valuesOf.get(code) ?? [];
    const input = values.length ? element("select") : element("input", { type: "text", value });
    input.ariaLabel = `Default of ${labels.get(code) ?? code}`;
    if (values.length) {
      const isKnown = values.some(([known]) => known === value);
      const all = isKnown ? values : [[value, value ? `${value} (not allowed)` : "Select a value"], ...values];
      input.append(...all.map(([known, label]) => element("option", { value: known, textContent: label })));
      input.value = value;
    }
    input.addEventListener("change", () => {
      entry[1] = input.value;
      area.value = write(entries);
    });
    return input;
  };
  const draw = () => {
    list.replaceChildren(...entries.map((entry, index) => {
      const [code] = entry;
      const label = labels.get(code) ?? "Unknown attribute";
      const item = element("li", { className: labels.has(code) ? "" : "bridge-unknown" }, [
        element("span", { className: "bridge-picked-name" }, [`${label} `, element("code", { textContent: code })]),
      ]);
      if (hasValues) {
        item.append(valueInput(entry));
      }
      if (isSortable) {
        item.append(
          button("↑", `Move ${label} up`, index === 0, () => move(index, index - 1)),
          button("↓", `Move ${label} down`, index === entries.length - 1, () => move(index, index + 1)),
        );
      }
      item.append(button("✕", `Remove ${label}`, false, () => {
        entries.splice(index, 1);
        store();
        adder.focus();
      }));
      return item;
    }));
    const used = new Set(entries.map(([code]) => code));
    adder.replaceChildren(
      element("option", { value: "", textContent: "Add…" }),
      ...known.filter(([code]) => !used.has(code))
        .map(([code, label]) => element("option", { value: code, textContent: `${label} (${code})` })),
    );
  };
  adder.addEventListener("change", () => {
    if (adder.value) {
      entries.push([adder.value, ""]);
      store();
      (hasValues ? list.lastElementChild.querySelector("select, input") : adder).focus();
    }
  });
  const show = (isList) => {
    if (isList) {
      try {
        entries = read(area.value);
      } catch {
        isList = false;
      }
    }
    box.hidden = !isList;
    area.hidden = isList;
    toggle.textContent = isList ? "Edit the codes" : "Show as a list";
    if (isList) {
      draw();
    }
  };
  toggle.addEventListener("click", () => show(box.hidden));
  show(true);
  return { show };
}

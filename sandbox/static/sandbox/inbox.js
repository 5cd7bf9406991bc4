// The inbox page: the list of conversations, the open conversation, and the app's panel next to it.

import { adviceForFirst, draw, element, problems, valuesOf } from "../intercom_bridge/canvas.js";

const API = document.body.dataset.api;
const THREAD_SECONDS = 1.5;
// The addresses of files expire after half an hour, so messages are drawn again earlier.
const REDRAW_MILLISECONDS = 20 * 60 * 1000;
const MESSAGE_TAGS = new Set(["P", "BR", "B", "STRONG", "I", "EM", "A", "UL", "OL", "LI", "H1", "H2", "CODE", "PRE", "BLOCKQUOTE", "IMG", "DIV", "FIGURE"]);

const $ = (id) => document.getElementById(id);
// `open` is the id of the open conversation. `shown` and `list` describe what is drawn, to draw only changes.
// `requests` counts the requests to the app. `files` are the files to send with the next message.
const page = { open: "", shown: "", list: "", canvas: null, requests: 0, files: [], admins: [], teams: [] };

async function ask(path, data) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
  const answer = await fetch(API + path, data === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify(data),
  });
  const body = await answer.json().catch(() => ({ error: `HTTP ${answer.status}` }));
  if (!answer.ok) throw new Error(body.error ?? `HTTP ${answer.status}`);
  return body;
}

function showProblems(messages, isAdvice = false) {
  const box = $("problems");
  box.className = isAdvice ? "advice" : "";
  if (messages.length === 0) box.replaceChildren();
  else if (messages.length === 1) box.replaceChildren(messages[0]);
  else box.replaceChildren(element("ul", {}, ...messages.map((text) => element("li", {}, text))));
}

// --- People and dates ---------------------------------------------------------------------------

function nameOf(person) {
  return person?.name || person?.email || (person?.role === "lead" || person?.type === "lead" ? "A visitor" : "Somebody");
}

function avatar(name) {
  const words = name.replace(/[^\p{L}\p{N}\s]/gu, " ").trim().split(/\s+/);
  const letters = words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...(words[0] || "?")][0];
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const made = element("span", { class: "avatar", "aria-hidden": "true" }, letters.toUpperCase());
  made.style.setProperty("--hue", hue);
  return made;
}

/** A date as text: the time if it is today, otherwise the day, with the time if `withTime` is true. */
function dateText(seconds, withTime = false) {
  const date = new Date(seconds * 1000);
  const today = new Date().toDateString() === date.toDateString();
  const day = { day: "numeric", month: "short" };
  const clock = { hour: "2-digit", minute: "2-digit" };
  if (today) return date.toLocaleTimeString("en-GB", clock);
  return date.toLocaleString("en-GB", withTime ? { ...day, ...clock } : day);
}

const STATES = { open: "Open", closed: "Closed", snoozed: "Snoozed" };
const EVENTS = {
  open: "opened the conversation",
  close: "closed the conversation",
  snoozed: "snoozed the conversation",
  conversation_attribute_updated_by_admin: "updated an attribute",
};

/** The name of the teammate or team with this id, or "nobody". */
function nameOfAssignee(type, id) {
  const candidates = type === "team" ? page.teams : page.admins;
  return candidates.find((candidate) => String(candidate.id) === String(id))?.name ?? "nobody";
}

// --- Conversations ------------------------------------------------------------------------------

async function listConversations() {
  const { conversations } = await ask("conversations");
  const drawn = JSON.stringify([conversations, page.open]);
  if (drawn === page.list) return conversations;
  page.list = drawn;
  $("conversations").replaceChildren(...conversations.map((conversation) => {
    const name = nameOf(conversation.contact);
    let prefix = "";
    if (conversation.is_note) prefix = "Note: ";
    else if (conversation.last_author_type === "admin") prefix = "You: ";
    return element("li", {}, element(
      "button",
      {
        type: "button",
        "aria-current": conversation.id === page.open ? "true" : undefined,
        onclick: () => open(conversation.id),
      },
      avatar(name),
      element("span", { class: "name" }, element("span", { dir: "auto" }, name), element("time", {}, dateText(conversation.updated_at))),
      element("span", { class: "preview", dir: "auto" }, prefix + conversation.preview),
      conversation.state === "open" ? "" : element("span", { class: "state" }, STATES[conversation.state]),
    ));
  }));
  return conversations;
}

async function open(id) {
  page.open = id;
  page.shown = "";
  history.replaceState(null, "", `#${id}`);
  $("thread").replaceChildren();
  await Promise.all([listConversations(), showThread(), initialize()]);
}

async function showThread() {
  const id = page.open;
  if (!id) return;
  const conversation = await ask(`conversations/${id}`);
  if (id !== page.open) return;
  const parts = [{ ...conversation.source, part_type: "comment", created_at: conversation.created_at }, ...conversation.conversation_parts.conversation_parts];
  const drawn = JSON.stringify([id, conversation.state, conversation.custom_attributes, Math.floor(Date.now() / REDRAW_MILLISECONDS), parts.map((part) => [part.id, part.redacted, withoutSignatures(part.body)])]);
  if (drawn === page.shown) return;
  const isFirst = page.shown === "";
  page.shown = drawn;
  const thread = $("thread");
  const atEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
  thread.replaceChildren(...parts.map(drawPart));
  if (isFirst || atEnd) scrollToEnd(thread);
  showContact(conversation, parts.length);
}

/** Scroll to the newest message. Scroll again after each picture has loaded, unless the user has scrolled up. */
function scrollToEnd(thread) {
  let end = 0;
  const scroll = () => {
    thread.scrollTop = thread.scrollHeight;
    end = thread.scrollTop;
  };
  scroll();
  for (const picture of thread.querySelectorAll("img")) {
    picture.addEventListener("load", () => {
      if (thread.scrollTop >= end) scroll();
    });
  }
}

/** A message's HTML without the signatures in addresses of files, which differ each time it is read. */
function withoutSignatures(html) {
  return html?.replace(/\?expires=[^"]*/g, "");
}

/** Draw a part: a message, or a line about an event such as an assignment. */
function drawPart(part) {
  if (!part.body && part.attachments.length === 0) {
    const { assigned_to: to, part_type: type } = part;
    const what = to
      ? `${type === "assign_and_reopen" ? "opened the conversation and " : ""}assigned it to ${nameOfAssignee(to.type, to.id)}`
      : EVENTS[type] ?? type.replaceAll("_", " ");
    const facts = [`${nameOf(part.author)} ${what}`, part.app_package_code && "by the app", dateText(part.created_at, true)];
    return element("p", { class: "event" }, facts.filter(Boolean).join(" · "));
  }
  const ours = ["admin", "bot", "team"].includes(part.author.type);
  const note = part.part_type === "note";
  const bubble = element("div", { class: "bubble", dir: "auto" });
  if (part.body) bubble.append(sanitized(part.body));
  if (part.attachments.length) {
    bubble.append(element("ul", { class: "files" }, ...part.attachments.map(drawAttachment)));
  }
  const facts = [nameOf(part.author), note && "note", part.app_package_code && "by the app", dateText(part.created_at, true)];
  return element(
    "article",
    { class: `message ${ours ? "ours" : ""} ${note ? "note" : ""}` },
    avatar(nameOf(part.author)),
    bubble,
    element("p", { class: "byline", dir: "auto" }, facts.filter(Boolean).join(" · ")),
  );
}

function drawAttachment(file) {
  const link = element("a", { href: file.url, target: "_blank", rel: "noopener noreferrer" }, `📎 ${file.name}`);
  link.title = `${file.content_type}, ${file.filesize.toLocaleString("en-GB")} bytes`;
  if (!file.content_type.startsWith("image/")) return element("li", {}, link);
  return element("li", { class: "picture" }, link, element("img", { src: file.url, alt: file.name }));
}

/** A message's HTML, reduced to elements and addresses that a message may contain. */
function sanitized(html) {
  const copy = (from, to) => {
    for (const node of from.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
      else if (node.nodeType === Node.ELEMENT_NODE && MESSAGE_TAGS.has(node.tagName)) {
        const made = document.createElement(node.tagName);
        const link = node.getAttribute("href") ?? "";
        const source = node.getAttribute("src") ?? "";
        if (/^(https?|mailto):/.test(link)) Object.assign(made, { href: link, target: "_blank", rel: "noopener noreferrer" });
        if (/^https?:/.test(source)) Object.assign(made, { src: source, alt: "" });
        copy(node, made);
        to.append(made);
      } else copy(node, to);
    }
    return to;
  };
  return copy(new DOMParser().parseFromString(html, "text/html").body, document.createDocumentFragment());
}

function showContact(conversation, count) {
  const contact = conversation.contact;
  $("who").textContent = nameOf(contact);
  $("about").replaceChildren(
    element("span", { class: "state", id: "state" }, STATES[conversation.state]),
    ` · ${count} ${count === 1 ? "part" : "parts"} · conversation ${conversation.id}`,
  );
  const { admin_assignee_id: admin, team_assignee_id: team } = conversation;
  $("assignee").value = team ? `team:${team}` : admin ? `admin:${admin}` : "admin:0";
  $("close").textContent = conversation.state === "open" ? "Close" : "Open";
  $("snooze").disabled = conversation.state !== "open";
  const attributes = Object.entries(conversation.custom_attributes).filter(([, value]) => value !== null);
  $("attributes-card").hidden = attributes.length === 0;
  $("attributes").replaceChildren(...attributes.flatMap(([name, value]) => (
    [element("dt", {}, name), element("dd", { dir: "auto" }, String(value))]
  )));
  const facts = { Name: contact.name, "E-mail": contact.email, Role: contact.role, ...contact.custom_attributes };
  $("contact").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => (
    [element("dt", {}, name), element("dd", { dir: "auto", title: String(value ?? "") }, String(value ?? "–"))]
  )));
}

// --- The panel ----------------------------------------------------------------------------------

async function initialize() {
  page.canvas = null;
  showProblems([]);
  $("timing").textContent = "";
  $("panel").replaceChildren(element("div", { class: "waiting" }, element("div", { class: "spinner", role: "status", "aria-label": "Loading" })));
  await callApp({});
}

async function submit(componentId, clicked) {
  const panel = $("panel");
  if (panel.getAttribute("aria-busy") === "true") return;
  const values = valuesOf(panel);
  // This is checked before the fields are disabled, because then they lose the focus.
  const hadFocus = panel.contains(document.activeElement);
  clicked.classList.add("clicked");
  panel.querySelector("fieldset").disabled = true;
  await callApp({ component_id: componentId, input_values: values, current_canvas: page.canvas });
  clicked.classList.remove("clicked");
  if (hadFocus && document.activeElement === document.body) panel.focus({ preventScroll: true });
}

async function callApp(click) {
  const id = page.open;
  const number = ++page.requests;
  const panel = $("panel");
  panel.setAttribute("aria-busy", "true");
  let answer = null;
  let failure = "";
  try {
    answer = await ask("canvas", { conversation_id: id, admin_id: $("teammate").value, ...click });
  } catch (error) {
    failure = error.message;
  }
  // In the meantime, the user has opened another conversation: its own response will be shown.
  if (number !== page.requests) return;
  panel.removeAttribute("aria-busy");
  const found = failure ? [failure] : findProblems(answer);
  const canBeDrawn = answer?.status === 200 && Array.isArray(answer.body?.canvas?.content?.components);
  if (found.length === 0 || canBeDrawn) {
    page.canvas = answer.body.canvas;
    draw(panel, page.canvas.content.components, submit);
  } else {
    const fields = panel.querySelector("fieldset");
    if (fields) fields.disabled = false;
    else panel.replaceChildren();
  }
  const height = Math.round(panel.scrollHeight);
  showProblems(found);
  if (found.length === 0 && !click.component_id) showProblems(adviceForFirst(answer.body, height), true);
  showFacts(answer, click, height);
}

/** Sentences about what is wrong with the bridge's response. */
function findProblems(answer) {
  if (answer.status === 0) return [`The bridge did not respond: ${answer.trouble}.`];
  if (answer.status !== 200) return [`The bridge responded with HTTP ${answer.status}. Intercom would show an error.`];
  if (answer.body === null) return ["The bridge's response is not JSON."];
  return problems(answer.body);
}

function showFacts(answer, click, height) {
  $("timing").textContent = answer ? `${answer.milliseconds} ms` : "";
  const facts = answer ? {
    Request: click.component_id ? `submit ${click.component_id}` : "initialize",
    Answer: `HTTP ${answer.status} in ${answer.milliseconds} ms, ${answer.size} bytes`,
    Height: `${height} px`,
    Sent: click.component_id ? JSON.stringify(click.input_values) : "–",
  } : {};
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => (
    [element("dt", {}, name), element("dd", { dir: "auto" }, value)]
  )));
  $("raw").textContent = answer ? (answer.body ? JSON.stringify(answer.body, null, 2) : answer.text) : "";
}

// --- Writing ------------------------------------------------------------------------------------

/** As whom the user writes: "reply", "note" or "customer". */
function voice() {
  return document.querySelector("input[name=voice]:checked").value;
}

function showFiles() {
  $("files").replaceChildren(...page.files.map((file, index) => element(
    "li",
    {},
    `${file.isPasted ? "🖼" : "📎"} ${file.name}`,
    element("button", {
      type: "button", "aria-label": `Remove ${file.name}`,
      onclick: () => {
        page.files.splice(index, 1);
        showFiles();
      },
    }, "×"),
  )));
}

/** A chosen or pasted file in the form that the stand-in accepts. A pasted picture becomes part of the text. */
async function readFile(file, isPasted = false) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
  if (!file.size) throw new Error(`${file.name} is empty.`);
  const data = url.slice(url.indexOf(",") + 1);
  return { name: file.name, content_type: file.type || "application/octet-stream", data, isPasted };
}

async function addFiles(files, isPasted = false) {
  try {
    page.files.push(...await Promise.all([...files].map((file) => readFile(file, isPasted))));
    showFiles();
  } catch (error) {
    showProblems([error.message]);
  }
}

/** The files of a message: the attachments, and the pictures in the text. */
function asMessage(files) {
  const plain = ({ name, content_type, data }) => ({ name, content_type, data });
  return {
    attachments: files.filter((file) => !file.isPasted).map(plain),
    pictures: files.filter((file) => file.isPasted).map(plain),
  };
}

async function send(event) {
  event.preventDefault();
  const body = $("words").value;
  if (!page.open || (!body.trim() && page.files.length === 0)) return;
  const asCustomer = voice() === "customer";
  const button = $("composer").querySelector(".send");
  button.disabled = true;
  try {
    await ask(`conversations/${page.open}/messages`, {
      author: asCustomer ? "contact" : "admin",
      author_id: asCustomer ? "" : $("teammate").value,
      note: voice() === "note",
      body,
      ...asMessage(page.files),
    });
    $("words").value = "";
    page.files = [];
    showFiles();
    await Promise.all([showThread(), listConversations()]);
    scrollToEnd($("thread"));
  } catch (error) {
    showProblems([error.message]);
  } finally {
    button.disabled = false;
    $("words").focus();
  }
}

async function changeState(change) {
  if (!page.open) return;
  try {
    await ask(`conversations/${page.open}/state`, { author_id: $("teammate").value, ...change });
    await Promise.all([showThread(), listConversations()]);
  } catch (error) {
    showProblems([error.message]);
  }
}

async function begin(form) {
  const data = new FormData(form);
  const known = data.get("contact");
  const message = known ? { contact_id: known } : {
    contact: { name: data.get("name") || null, email: data.get("email"), role: data.get("role") },
  };
  const files = await Promise.all(data.getAll("files").filter((file) => file.size).map((file) => readFile(file)));
  const { id } = await ask("conversations", { ...message, body: data.get("body"), ...asMessage(files) });
  form.reset();
  await Promise.all([loadState(), open(id)]);
}

// --- The start ----------------------------------------------------------------------------------

async function loadState() {
  const state = await ask("state");
  const teammate = $("teammate").value;
  $("teammate").replaceChildren(...state.admins.map((admin) => element("option", { value: admin.id }, admin.name)));
  if (teammate) $("teammate").value = teammate;
  page.admins = state.admins;
  page.teams = state.teams;
  $("assignee").replaceChildren(
    element("option", { value: "admin:0" }, "Nobody"),
    ...state.admins.map((admin) => element("option", { value: `admin:${admin.id}` }, admin.name)),
    ...state.teams.map((team) => element("option", { value: `team:${team.id}` }, `${team.name} (team)`)),
  );
  const form = $("beginning-form");
  form.elements.contact.replaceChildren(
    ...state.contacts.map((contact) => element("option", { value: contact.id }, nameOf(contact))),
    element("option", { value: "" }, "Somebody new…"),
  );
  form.querySelector(".newcomer").hidden = true;
}

function listen() {
  $("composer").addEventListener("submit", send);
  $("composer").addEventListener("change", () => {
    $("composer").classList.toggle("noting", voice() === "note");
    const placeholders = { reply: "Write to the customer…", note: "Only teammates see notes…", customer: "What the customer writes…" };
    $("words").placeholder = placeholders[voice()];
  });
  $("composer").dispatchEvent(new Event("change"));
  $("words").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("composer").requestSubmit();
  });
  $("attach").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    addFiles(files);
  });
  $("words").addEventListener("paste", (event) => {
    const pictures = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (pictures.length === 0) return;
    event.preventDefault();
    addFiles(pictures, true);
  });
  $("reload").addEventListener("click", () => page.open && initialize());
  $("teammate").addEventListener("change", () => page.open && initialize());
  $("close").addEventListener("click", () => changeState({ kind: $("close").textContent === "Open" ? "open" : "close" }));
  $("snooze").addEventListener("click", () => changeState({ kind: "snoozed", minutes: 60 }));
  $("assignee").addEventListener("change", (event) => {
    const [type, id] = event.target.value.split(":");
    changeState({ kind: "assignment", type, assignee_id: id });
  });
  $("begin").addEventListener("click", () => $("beginning").showModal());
  const form = $("beginning-form");
  form.elements.contact.addEventListener("change", () => {
    form.querySelector(".newcomer").hidden = form.elements.contact.value !== "";
  });
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value === "begin") begin(form).catch((error) => showProblems([error.message]));
  });
}

async function keepUpToDate() {
  if (!document.hidden) {
    try {
      await Promise.all([listConversations(), showThread()]);
    } catch {
      // The stand-in does not respond. The next round tries again, and a click would show the error.
    }
  }
  setTimeout(keepUpToDate, THREAD_SECONDS * 1000);
}

listen();
try {
  await loadState();
  const conversations = await listConversations();
  const wanted = location.hash.slice(1);
  const first = conversations.find((conversation) => conversation.id === wanted) ?? conversations[0];
  if (first) await open(first.id);
} catch (error) {
  showProblems([error.message]);
}
keepUpToDate();

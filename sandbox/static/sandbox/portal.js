// The portal page: shows the claims in the token, and a stand-in for the Messenger.

const data = document.getElementById("settings");
if (data) start(JSON.parse(data.textContent));

function start(settings) {
  const payload = settings.intercom_user_jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
  const claims = JSON.parse(new TextDecoder().decode(bytes));
  for (const [name, value] of Object.entries(claims)) {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = typeof value === "object" ? JSON.stringify(value) : String(value);
    text.dir = "auto";
    document.getElementById("claims").append(term, text);
  }
  document.getElementById("chat").addEventListener("submit", async (event) => {
    event.preventDefault();
    const words = document.getElementById("words");
    const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
    const answer = await fetch(`${document.body.dataset.api}messenger`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token },
      body: JSON.stringify({ app_id: settings.app_id, jwt: settings.intercom_user_jwt, body: words.value }),
    });
    const said = document.createElement("p");
    said.textContent = answer.ok ? words.value : `Not sent: ${(await answer.json()).error}`;
    said.className = answer.ok ? "sent" : "refused";
    document.getElementById("said").append(said);
    if (answer.ok) words.value = "";
  });
}

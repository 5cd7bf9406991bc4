// Draw each screen of the preview, and list what Canvas Kit would reject.
import { adviceForFirst, draw, problems } from "./canvas.js";

for (const screen of document.querySelectorAll(".bridge-screen")) {
  const data = screen.querySelector("script[type='application/json']");
  if (!data) continue;
  const answer = JSON.parse(data.textContent);
  const canvas = screen.querySelector(".canvas");
  const list = screen.querySelector(".bridge-problems");
  // Clicks do nothing in a preview.
  draw(canvas, answer.canvas.content.components, () => {});
  const found = problems(answer);
  if (screen.dataset.first === "true") found.push(...adviceForFirst(answer, Math.round(canvas.offsetHeight)));
  for (const sentence of found) {
    const line = document.createElement("li");
    line.textContent = sentence;
    list.append(line);
  }
  screen.dataset.drawn = "true";
}

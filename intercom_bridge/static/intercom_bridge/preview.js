// Draws each screen of the preview, and says what Canvas Kit would not take of it.
import { adviceForFirst, draw, problems } from "./canvas.js";

for (const screen of document.querySelectorAll(".bridge-screen")) {
  const data = screen.querySelector("script[type='application/json']");
  if (!data) continue;
  const answer = JSON.parse(data.textContent);
  const canvas = screen.querySelector(".canvas");
  const said = screen.querySelector(".bridge-problems");
  // A look at it only: nothing that is clicked leads anywhere.
  draw(canvas, answer.canvas.content.components, () => {});
  const found = problems(answer);
  if (screen.dataset.first === "true") found.push(...adviceForFirst(answer, Math.round(canvas.offsetHeight)));
  for (const sentence of found) {
    const line = document.createElement("li");
    line.textContent = sentence;
    said.append(line);
  }
  screen.dataset.drawn = "true";
}

// A button beside each text that is to be pasted elsewhere. Without this file, a click on the text marks all of it.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const text of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "bridge-copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${text.dataset.copy}`);
    button.addEventListener("click", async () => {
      const selection = window.getSelection();
      selection.selectAllChildren(text);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        // Not a secure page, or the browser says no: the text is marked, so that a key press copies it.
        button.textContent = "Press Ctrl+C";
      }
    });
    text.after(button);
  }
});

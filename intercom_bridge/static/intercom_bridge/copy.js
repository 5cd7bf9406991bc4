// Add a copy button to each text with data-copy. Without JavaScript, a click selects the whole text.
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
        // Not a secure context, or permission denied. The text is selected, so the keyboard shortcut copies it.
        button.textContent = "Press Ctrl+C";
      }
    });
    text.after(button);
  }
});

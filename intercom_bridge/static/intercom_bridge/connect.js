// Show the fields of a new iTop only if a new iTop is selected. Without JavaScript, a sentence says when they are used.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const choice = document.querySelector("[name=of-itop]");
  const fields = document.querySelector(".bridge-new-itop");
  if (!choice || !fields) {
    return;
  }
  const update = () => {
    fields.hidden = choice.value !== "new";
  };
  choice.addEventListener("change", update);
  update();
});

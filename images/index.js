"use strict";
const cards = Array.from(document.querySelectorAll("article"));
const search = document.getElementById("search"), show = document.getElementById("show");
const language = document.getElementById("language"), nothing = document.getElementById("nothing");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const card of cards) {
    const has = card.dataset.images !== "0";
    const fits = words.every((word) => card.dataset.search.includes(word)) &&
      (show.value === "" || (show.value === "images") === has);
    card.hidden = !fits;
    n += fits;
  }
  document.getElementById("count").value = `${n} / ${cards.length}`;
  nothing.hidden = n > 0;
}

function speak(chinese) {
  for (const e of document.querySelectorAll("[data-zh]")) {
    e.dataset.en ??= e.textContent;
    e.textContent = chinese ? e.dataset.zh : e.dataset.en;
  }
  document.documentElement.lang = chinese ? "zh" : "en";
  language.textContent = chinese ? "English" : "中文";
  language.lang = chinese ? "en" : "zh";
}

search.addEventListener("input", filter);
show.addEventListener("change", filter);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
language.hidden = false;
language.addEventListener("click", () => speak(document.documentElement.lang === "en"));
speak(navigator.language.startsWith("zh"));
filter();

// Keeps a page up to date: the server sends the HTML of its live part each time
// that it has changed, and the sections that differ are replaced. Without
// JavaScript the page loads itself again every few seconds.
(() => {
  'use strict';
  const live = document.querySelector('[data-live]');
  if (!live || !window.EventSource) return;
  const lost = document.getElementById('lost');
  const source = new EventSource(live.dataset.live);

  const replace = (html) => {
    const next = new DOMParser().parseFromString(html, 'text/html').body;
    const names = (parent) => [...parent.children].map((part) => part.id).join();
    const focused = document.activeElement.closest('[data-live] a')?.getAttribute('href');
    if (names(next) !== names(live)) {
      live.replaceChildren(...next.childNodes);
    } else {
      [...next.children].forEach((part, i) => {
        if (part.outerHTML !== live.children[i].outerHTML) live.children[i].replaceWith(part);
      });
    }
    if (focused) live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  };

  source.onopen = () => { lost.hidden = true; };
  source.onmessage = (event) => replace(event.data);
  source.onerror = () => {
    lost.hidden = false;
    // The browser tries again by itself, unless it was refused: the session may
    // have ended, and the page says so.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000);
  };
})();

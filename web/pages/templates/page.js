// What pages do beyond their HTML. Nothing here is needed: without JavaScript a
// page loads itself again every few seconds, and forms and links do the rest.
(() => {
  'use strict';

  // Times are shown in the zone of the browser, unless another one was chosen.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !/(^|; )tiwsnap_zone=/.test(document.cookie)) {
    const secure = location.protocol === 'https:' ? '; Secure' : '';
    document.cookie = `tiwsnap_zone=${encodeURIComponent(zone)}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
    const shown = document.querySelector('main time');
    if (shown && zone !== 'UTC' && /(^|; )tiwsnap_zone=/.test(document.cookie)) location.reload();
  }

  // A file may be dropped anywhere on the form.
  const drop = document.querySelector('[data-drop]')?.closest('form');
  drop?.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('over'); });
  drop?.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop?.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    if (event.dataTransfer.files.length) drop.elements.file.files = event.dataTransfer.files;
  });

  // An image opens in full size over the page; the arrow keys show the others.
  let viewer;
  let at;
  const images = () => [...document.querySelectorAll('a[data-image]')];
  const show = (i) => {
    const all = images();
    if (!all[i]) return;
    at = i;
    const [image, caption] = [viewer.querySelector('img'), viewer.querySelector('p')];
    image.src = all[i].href;
    image.alt = all[i].querySelector('img').alt;
    caption.textContent = `${all[i].dataset.image || image.alt} (${i + 1}/${all.length})`;
    viewer.querySelectorAll('[data-step]').forEach((step) => { step.disabled = !all[i + Number(step.dataset.step)]; });
  };
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-image]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (!viewer) {
      document.body.append(document.getElementById('viewer').content.cloneNode(true));
      viewer = document.querySelector('dialog.viewer');
      viewer.addEventListener('keydown', (key) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key.key];
        if (step) { key.preventDefault(); show(at + step); }
      });
      viewer.addEventListener('click', (inside) => {
        const step = Number(inside.target.closest('[data-step]')?.dataset.step);
        if (step) show(at + step);
        if (inside.target === viewer) viewer.close();
      });
      viewer.addEventListener('close', () => images()[at]?.focus());
    }
    show(images().indexOf(link));
    viewer.showModal();
    viewer.focus(); // not its button, which the Enter that opens the image would press
  });

  // Paper does not scroll: load all images.
  window.matchMedia('print').addEventListener('change', (paper) => {
    if (paper.matches) document.querySelectorAll('img[loading=lazy]').forEach((image) => { image.loading = 'eager'; });
  });

  // Esc, or a click beside it, shuts a menu or a question.
  const asked = 'details.ask[open], details.menu[open]';
  document.addEventListener('keydown', (event) => {
    const open = event.key === 'Escape' && event.target.closest(asked);
    if (!open) return;
    open.open = false;
    open.querySelector('summary').focus();
  });
  document.addEventListener('click', (event) => {
    document.querySelectorAll(asked).forEach((open) => { if (!open.contains(event.target)) open.open = false; });
  });
  document.querySelector('[data-select]')?.addEventListener('focus', (event) => event.target.select());

  // A link is copied by a button, also where the page has come by HTTP and there is no clipboard to write to.
  document.querySelectorAll('[data-copy]').forEach((button) => {
    button.hidden = false;
    button.addEventListener('click', async () => {
      const from = document.getElementById(button.dataset.copy);
      from.select();
      const done = await navigator.clipboard?.writeText(from.value).then(() => true, () => false)
        || document.execCommand('copy');
      if (done) button.textContent = button.dataset.done;
    });
  });

  // The server sends the HTML of the live part each time that it has changed,
  // and the sections that differ are replaced. A hidden tab asks for nothing.
  const live = document.querySelector('[data-live]:not([data-live=""])');
  if (!live || !window.EventSource) return;
  const lost = document.getElementById('lost');
  let source;

  const busy = (part) => part.contains(document.activeElement) &&
    part.querySelector('input:focus, select:focus, textarea:focus')
    || part.querySelector('details[open], input:checked');

  const replace = (html) => {
    const next = new DOMParser().parseFromString(html, 'text/html').body;
    const names = (parent) => [...parent.children].map((part) => part.id).join();
    const focused = document.activeElement.closest('[data-live] a')?.getAttribute('href');
    if (names(next) !== names(live)) {
      live.replaceChildren(...next.childNodes);
    } else {
      [...next.children].forEach((part, i) => {
        const old = live.children[i];
        if (!busy(old) && part.outerHTML !== old.outerHTML) old.replaceWith(part);
      });
    }
    if (focused && !live.contains(document.activeElement)) {
      live.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  };

  const open = () => {
    source = new EventSource(live.dataset.live);
    source.onmessage = (event) => { lost.hidden = true; replace(event.data); };
    source.addEventListener('lost', () => { lost.hidden = false; });
    source.onerror = () => {
      lost.hidden = false;
      // The browser tries again by itself, unless it was refused: the session
      // may have ended, and the page says so.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10000);
    };
  };
  const turn = () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source) {
      open();
    }
  };
  document.addEventListener('visibilitychange', turn);
  window.addEventListener('pagehide', () => { source?.close(); source = null; });
  window.addEventListener('pageshow', turn);
  turn();
})();

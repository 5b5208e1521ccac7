// A click in the mail is an answer once a person is seen here: who opens links to look for viruses moves no pointer.
// It is sent with whatever was written when the page is left, so that score and comment come as one answer.
(() => {
  const form = document.querySelector("form[data-survey]");
  if (!form || !navigator.sendBeacon) return;
  let person = false, sent = false, idle;
  const seen = (event) => { if (event.isTrusted) { person = true; later(); } };
  // What is written after that is sent by the button, or when the page is left once more.
  form.addEventListener("input", () => { sent = false; });
  const later = () => { clearTimeout(idle); idle = setTimeout(send, 60000); };
  const send = () => {
    if (!person || sent) return;
    const said = new URLSearchParams(new FormData(form));
    said.set("unfinished", "1");
    sent = navigator.sendBeacon(form.action, said);
  };
  for (const name of ["pointermove", "pointerdown", "touchstart", "wheel", "keydown"]) {
    addEventListener(name, seen, { passive: true });
  }
  form.addEventListener("submit", () => { sent = true; });
  addEventListener("pagehide", send);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") send(); });
})();

// The arrow keys go from image to image; without this script the page lacks nothing else.
const samples = [...document.querySelectorAll(".sample")];
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const next = samples[samples.indexOf(document.activeElement) + step];
  if (next && samples.includes(document.activeElement) && !event.altKey && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    next.focus();
  }
});

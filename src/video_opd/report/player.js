"use strict";
// A click on a span plays this part of the video beside the timeline. Without scripts the link opens the file there.
for (const span of document.querySelectorAll("a[data-start]")) {
  span.addEventListener("click", (event) => {
    event.preventDefault();
    const card = span.closest("article");
    const [video, words] = [card.querySelector("video"), card.querySelector("[role=status]")];
    const [start, end] = [Number(span.dataset.start), Number(span.dataset.end)];
    video.hidden = false;
    words.textContent = span.getAttribute("aria-label").replace(/^play /, "plays ");
    video.onerror = () => {
      video.hidden = true;
      words.textContent = "The file is not found from here, or the browser cannot play it: " + card.dataset.video;
    };
    video.ontimeupdate = () => {
      if (video.currentTime >= end) {
        video.pause();
        video.ontimeupdate = null;
      }
    };
    video.currentTime = start;
    video.play().catch(() => {});
  });
}

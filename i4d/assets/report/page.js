// Videos of one group play together: one button, one time slider. Without this script each video still plays by itself.
for (const group of document.querySelectorAll("[data-group]")) {
  const videos = [...group.querySelectorAll("video")];
  const wipe = group.querySelector(".wipe");
  if (wipe && videos.length > 1) {
    // the last two videos of the group over each other, the edited one cut off where the slider stands
    const pair = videos.slice(-2).map((video) => video.cloneNode());
    const [cut, frame] = [wipe.querySelector("input"), wipe.querySelector(".pair")];
    pair[0].setAttribute("aria-label", wipe.dataset.before);
    pair[1].setAttribute("aria-label", wipe.dataset.after);
    frame.append(...pair);
    videos.push(...pair);
    const draw = () => {
      pair[1].style.clipPath = `inset(0 0 0 ${cut.value}%)`;
      frame.style.setProperty("--cut", `${cut.value}%`);
    };
    cut.addEventListener("input", draw);
    draw();
    wipe.hidden = false;
  }
  const controls = group.querySelector(".controls");
  if (!videos.length || !controls) continue;
  const [button, slider, output] = [controls.querySelector("button"), controls.querySelector("input"), controls.querySelector("output")];
  const frames = Number(group.dataset.frames), fps = Number(group.dataset.fps), lead = videos[0];
  for (const video of videos) {
    video.removeAttribute("controls");
    video.loop = true;
  }
  controls.hidden = false;
  let playing = false, wanted = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    const frame = Math.min(frames - 1, Math.max(0, Math.floor(lead.currentTime * fps + 1e-3)));
    slider.value = frame;
    output.textContent = `frame ${frame} of 0 to ${frames - 1}`;
  };
  const set = (on) => {
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    for (const video of videos) {
      if (on) video.play().catch(() => { playing = false; button.textContent = "Play"; });
      else video.pause();
    }
  };
  const seek = (frame) => { for (const video of videos) video.currentTime = (frame + 0.5) / fps; };
  button.addEventListener("click", () => set((wanted = !playing)));
  slider.addEventListener("input", () => { set((wanted = false)); seek(Number(slider.value)); });
  lead.addEventListener("seeked", show);
  const turn = () => {
    if (playing) {
      for (const video of videos.slice(1)) {
        if (Math.abs(video.currentTime - lead.currentTime) > 1.2 / fps && !video.seeking) video.currentTime = lead.currentTime;
      }
      show();
    }
    requestAnimationFrame(turn);
  };
  const watcher = new IntersectionObserver((entries) => set(wanted && entries[0].isIntersecting), { threshold: 0.25 });
  watcher.observe(group);
  show();
  requestAnimationFrame(turn);
}
// Sheets wider than the window say so, on the side where there is more; the keyboard can move them too.
for (const strip of document.querySelectorAll(".scroll")) {
  const look = () => {
    const rest = strip.scrollWidth - strip.clientWidth;
    const [left, right] = [rest > 4 && strip.scrollLeft > 4, rest > 4 && strip.scrollLeft < rest - 4];
    if (rest > 4) {
      strip.dataset.more = left && right ? "← scrolls sideways →" : right ? "scrolls sideways, more on the right →" : "← more on the left";
      strip.tabIndex = 0;
    } else {
      delete strip.dataset.more;
      strip.removeAttribute("tabindex");
    }
    strip.classList.toggle("fades", right);
  };
  strip.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(strip);
}

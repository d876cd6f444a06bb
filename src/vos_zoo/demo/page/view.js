// The frame with its masks, and the strip that shows which frames are drawn, tracked and out of date.

const OPACITY = 0.55;

export class View {
  constructor(canvas, strip, server) {
    Object.assign(this, { canvas, strip, server, wanted: "", frame: null });
  }

  resize(width, height) {
    Object.assign(this.canvas, { width, height });
    this.frame = null;
  }

  // Draw a frame; a later call overtakes one that still waits for its pictures.
  async show(state, number) {
    const video = state.video.number;
    const wanted = (this.wanted = `${video} ${number} ${state.version}`);
    if (wanted === this.shown) return;
    const name = `frames/${number}.jpg?video=${video}`;
    const [picture, mask] = await Promise.all([
      this.frame?.name === name ? this.frame.picture : this.server.picture(name),
      this.server.picture(`masks/${number}.png?video=${video}&version=${state.version}`),
    ]);
    if (this.wanted !== wanted) return;
    this.frame = { name, picture };
    const pen = this.canvas.getContext("2d");
    pen.globalAlpha = 1;
    pen.drawImage(picture, 0, 0);
    pen.globalAlpha = OPACITY;
    if (mask) pen.drawImage(mask, 0, 0);
    this.shown = wanted;
    Object.assign(this.canvas.dataset, { frame: number, version: state.version });
  }

  timeline(state, number) {
    const { strip } = this;
    strip.width = strip.clientWidth;
    const pen = strip.getContext("2d");
    const one = strip.width / state.video.frames;
    const style = getComputedStyle(strip);
    const fill = (name, ranges, top, height) => {
      pen.fillStyle = style.getPropertyValue(`--${name}`);
      for (const [first, last] of ranges) pen.fillRect(first * one, top, Math.max(1, (last - first + 1) * one), height);
    };
    fill("tracked", state.tracked, 4, 6);
    fill("stale", state.stale, 4, 6);
    fill("drawn", state.drawn.map((drawn) => [drawn, drawn]), 0, 14);
    fill("main", [[number, number]], 11, 3);
  }
}

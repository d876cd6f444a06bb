// The pointer on the frame: strokes and boxes in pixels of the frame, shown at once and passed on when they end.

export class Pen {
  constructor(canvas, actions) {
    Object.assign(this, { canvas, actions, points: null });
    canvas.onpointerdown = (event) => this.begin(event);
    canvas.onpointermove = (event) => this.move(event);
    canvas.onpointerup = (event) => this.end(event);
    canvas.onpointercancel = () => this.cancel();
    canvas.onpointerleave = () => this.points === null && this.clear();
  }

  resize(width, height) {
    Object.assign(this.canvas, { width, height });
  }

  clear() {
    if (this.points === null) this.context().clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  context() {
    return this.canvas.getContext("2d");
  }

  position(event) {
    const area = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * this.canvas.width;
    const y = ((event.clientY - area.top) / area.height) * this.canvas.height;
    return [Math.round(x * 10) / 10, Math.round(y * 10) / 10];
  }

  begin(event) {
    if (event.button !== 0 || !this.actions.allowed()) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.points = [this.position(event)];
    this.tool = this.actions.tool();
    this.draw();
  }

  move(event) {
    if (this.points === null) {
      this.cursor(this.position(event));
      return;
    }
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const one of moves.length ? moves : [event]) this.points.push(this.position(one));
    this.draw();
  }

  end(event) {
    if (this.points === null) return;
    this.points.push(this.position(event));
    const { points, tool } = this;
    this.draw();
    this.points = null;
    if (tool !== "box") {
      this.actions.stroke(points, this.actions.radius(), tool === "eraser");
      return;
    }
    const box = this.box(points);
    if (box[2] >= 2 && box[3] >= 2) this.actions.box(box);
    else this.clear();
  }

  cancel() {
    this.points = null;
    this.clear();
  }

  // x, y, width, height between the first and the last point, inside the frame.
  box(points) {
    const [[ax, ay], [bx, by]] = [points[0], points[points.length - 1]];
    const inside = (value, limit) => Math.min(Math.max(value, 0), limit);
    const { width, height } = this.canvas;
    const [left, right] = [Math.min(ax, bx), Math.max(ax, bx)].map((x) => inside(x, width));
    const [top, bottom] = [Math.min(ay, by), Math.max(ay, by)].map((y) => inside(y, height));
    return [left, top, right - left, bottom - top];
  }

  draw() {
    const pen = this.context();
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.globalAlpha = 0.6;
    pen.strokeStyle = pen.fillStyle = this.actions.colour();
    if (this.tool === "box") {
      pen.globalAlpha = 1;
      pen.lineWidth = Math.max(2, this.canvas.width / 300);
      pen.strokeRect(...this.box(this.points));
      return;
    }
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 2 * this.actions.radius();
    pen.beginPath();
    pen.moveTo(...this.points[0]);
    for (const point of this.points) pen.lineTo(...point);
    pen.stroke();
  }

  // The outline of the brush under the pointer.
  cursor([x, y]) {
    this.clear();
    if (this.actions.tool() === "box" || !this.actions.allowed()) return;
    const pen = this.context();
    pen.globalAlpha = 1;
    pen.lineWidth = Math.max(1, this.canvas.width / 640);
    pen.strokeStyle = this.actions.colour();
    pen.beginPath();
    pen.arc(x, y, this.actions.radius(), 0, 2 * Math.PI);
    pen.stroke();
  }
}

// Owns the charts and their five minutes of samples. A gap is shown as a gap: where the agent was
// not heard, or its counters began again, there is no line.
/* global uPlot */

const KEPT = 300;

function colour(host, name) {
  const probe = document.createElement('i');
  probe.className = name;
  host.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export class Chart {
  /** `series`: how many lines; `word`: a value as text; `spark`: no axes; `floor`: the least top, or 0
   *  for a scale that need not begin at nothing; `gap`: seconds without a sample that break the line. */
  constructor(host, { series = 1, word = String, steps, spark = false, floor = 1, gap = 3.5, height = 104 }) {
    Object.assign(this, { host, series, word, steps, spark, floor, gap, height });
    this.data = [[], ...Array.from({ length: series }, () => [])];
    this.make();
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(host);
  }

  size() { return { width: Math.max(this.host.clientWidth, 40), height: this.height }; }

  make() {
    const lines = [1, 2, 3].map((line) => colour(this.host, `c${line}`));
    const axis = { stroke: colour(this.host, 'c-axis'), font: '11px ' + getComputedStyle(document.body).fontFamily, ticks: { show: false }, grid: { stroke: colour(this.host, 'c-grid'), width: 1 }, gap: 6 };
    const clock = (t) => new Date(t * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' });
    this.plot = new uPlot({
      ...this.size(),
      legend: { show: false },
      gutters: this.spark ? { x: 0, y: 3 } : { x: 4, y: 8 },
      cursor: this.spark ? { show: false } : { sync: { key: 'runtime' }, drag: { x: false, y: false }, y: false },
      scales: {
        x: { time: true, range: () => { const [first, last] = [0, -1].map((at) => this.data[0].at(at) || 1); return [Math.min(first, last - 1), last]; } },
        y: { range: (_, low, high) => (this.floor || !(high > low) ? [0, Math.max(this.floor || 1, Number.isFinite(high) ? high * 1.15 : 0)] : [low, high]) },
      },
      axes: this.spark ? [{ show: false }, { show: false }] : [
        { ...axis, grid: { show: false }, size: 22, space: 70, incrs: [60, 120, 300], values: (_, at) => at.map(clock) },
        { ...axis, size: 58, space: 32, ...(this.steps && { incrs: this.steps }), values: (_, at) => at.map(this.word) },
      ],
      series: [{}, ...Array.from({ length: this.series }, (_, line) => ({
        stroke: lines[line], width: 1.75, points: { show: false }, spanGaps: false,
        fill: line === 0 ? lines[0].replace(/^rgb\((.*)\)$/, 'rgba($1, 0.12)') : undefined,
      }))],
    }, this.data, this.host);
  }

  push(at, values) {
    const last = this.data[0].at(-1);
    if (last !== undefined && at <= last) return;
    if (last !== undefined && at - last > this.gap) this.add(last + 1, values.map(() => null));
    this.add(at, values.map((value) => (typeof value === 'number' && Number.isFinite(value) ? value : null)));
  }

  add(at, values) {
    this.data[0].push(at);
    values.forEach((value, line) => this.data[line + 1].push(value));
    // A line begins with a value.
    while (this.data[0].length > KEPT || (this.data[0].length && this.data.every((column, line) => !line || column[0] === null))) for (const column of this.data) column.shift();
  }

  draw() { this.plot.setData(this.data); }

  recolour() { this.plot.destroy(); this.make(); }
}

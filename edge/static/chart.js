// A small line chart of the last two minutes, drawn by uPlot in the page's colours.

import uPlot from "./vendor/uPlot.esm.js";
import { roundCeiling, WINDOW_S } from "./readings.js";

const HEIGHT_PX = 84;
const AXIS_FONT_SIZE = "11px";

export class LineChart {
  #host;
  #colour;
  #unit;
  #leastTop;
  /** The right edge of the chart, Unix seconds. */
  #now = Date.now() / 1000;
  #plot;
  #resizes;
  #hover = document.createElement("p");

  /**
   * @param {HTMLElement} host
   * @param {string} colour the name of a custom property, such as `--cpu`
   * @param {string} unit
   * @param {number} leastTop the least upper end of the axis, so that small noise looks small
   */
  constructor(host, colour, unit, leastTop) {
    this.#host = host;
    this.#colour = colour;
    this.#unit = unit;
    this.#leastTop = leastTop;
    this.#hover.className = "chart-hover";
    this.#plot = new uPlot(this.#options(), [[], []], host);
    host.append(this.#hover);
    this.#resizes = new ResizeObserver(() => this.#resize());
    this.#resizes.observe(host);
  }

  /**
   * @param {number[]} times Unix seconds
   * @param {(number | null)[]} values
   * @param {number} now Unix seconds
   */
  update(times, values, now) {
    this.#now = now;
    this.#plot.setData([times, values]);
  }

  destroy() {
    this.#resizes.disconnect();
    this.#plot.destroy();
    this.#hover.remove();
  }

  #resize() {
    const width = this.#host.clientWidth;
    if (width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT_PX });
    }
  }

  /**
   * Reads a custom property at every drawing: the chart follows the page from light to dark.
   * @param {string} name
   */
  #css(name) {
    return getComputedStyle(this.#host).getPropertyValue(name);
  }

  /** @returns {import("uplot").Options} */
  #options() {
    const label = () => this.#css("--text-muted");
    const line = () => this.#css(this.#colour);
    const font = `${AXIS_FONT_SIZE} ${this.#css("--sans")}`;
    return {
      width: Math.max(1, this.#host.clientWidth),
      height: HEIGHT_PX,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6, fill: line } },
      scales: {
        x: { time: false, range: () => [this.#now - WINDOW_S, this.#now] },
        y: { range: (_plot, _least, most) => [0, Math.max(this.#leastTop, roundCeiling(most))] },
      },
      series: [
        {},
        {
          stroke: line,
          fill: () => this.#css(`${this.#colour}-area`),
          width: 1.5,
          points: { show: false },
        },
      ],
      axes: [
        {
          size: 24,
          gap: 7,
          font,
          stroke: label,
          grid: { show: false },
          ticks: { show: false },
          splits: () => [this.#now - WINDOW_S, this.#now - WINDOW_S / 2, this.#now],
          values: () => ["2 min", "1 min", "now"],
        },
        {
          size: 34,
          gap: 6,
          font,
          stroke: label,
          grid: { stroke: () => this.#css("--chart-grid"), width: 1 },
          ticks: { show: false },
          splits: (plot) => [0, (plot.scales.y?.max ?? 1) / 2, plot.scales.y?.max ?? 1],
          values: (_plot, splits) => splits.map((value) => String(Number(value.toPrecision(3)))),
        },
      ],
      hooks: { setCursor: [() => this.#showHovered()] },
    };
  }

  #showHovered() {
    const index = this.#plot?.cursor.idx;
    const value = index == null ? null : this.#plot.data[1]?.[index];
    const at = index == null ? null : this.#plot.data[0][index];
    this.#hover.textContent =
      value == null || at == null
        ? ""
        : `${value.toFixed(1)} ${this.#unit}, ${Math.max(0, Math.round(this.#now - at))} s ago`;
  }
}

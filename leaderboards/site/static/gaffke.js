// Gaffke's bounds of a mean, as purebench computes them (statistics/intervals/gaffke.py, which explains the integral);
// a browser test compares the two.
"use strict";

purebench.gaffke = {
  step: 0.15,
  farthest: 26,
  nodes: 24,

  /** Two-sided interval of the mean of values in [0,1]: [mean, low, high]. */
  interval(values, confidence) {
    const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
    const alpha = (1 - confidence) / 2;
    const low = this.lower(values, alpha);
    const high =
      1 -
      this.lower(
        values.map((one) => 1 - one),
        alpha,
      );
    return [mean, Math.min(low, mean), Math.max(high, mean)];
  },

  /** One-sided lower bound that fails with probability alpha: the mean whose p-value is alpha. */
  lower(values, alpha) {
    let [low, high] = [0, Math.max(...values)];
    if (!high) return 0;
    while (high - low > 1e-9) {
      const middle = (low + high) / 2;
      if (this.pValue(values, middle) < alpha) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  },

  /** One-sided p-value of "the mean of the values is at most t". */
  pValue(values, t) {
    const counts = new Map();
    for (const one of values) counts.set(one, (counts.get(one) ?? 0) + 1);
    const distinct = [...counts.keys()];
    if (t >= Math.max(...distinct)) return 1;
    if (t <= 0) return 0;
    const y = [...distinct.map((one) => one - t), -t]; // the last one is the artificial 0
    const weight = [...distinct.map((one) => counts.get(one)), 1];
    const c = this.abscissa(y, weight);
    let [second, third, peak] = [1 / c ** 2, -2 / c ** 3, 0];
    y.forEach((one, at) => {
      const ratio = one / (1 - c * one);
      second += weight[at] * ratio ** 2;
      third += 2 * weight[at] * ratio ** 3;
      peak -= weight[at] * Math.log1p(-c * one);
    });
    const width = 1 / Math.sqrt(second);
    const bend = Math.min(Math.max(third / (3 * second ** 1.5), -1), 1);
    let total = 0;
    let last = 0;
    for (let node = 0; node * this.step < this.farthest; node += 1) {
      last = this.term(node * this.step, c, width, bend, peak, y, weight);
      total += node ? last : last / 2;
      if (node % this.nodes === this.nodes - 1 && Math.abs(last) < 1e-16 * Math.abs(total)) break;
    }
    return Math.min(Math.max(((-total * width * this.step) / Math.PI) * Math.exp(peak), 0), 1);
  },

  /** The real part of the integrand at a node v of the path s(v) through c. */
  term(v, c, width, bend, peak, y, weight) {
    const [re, im] = [c + width * bend * (Math.cosh(v) - 1), width * Math.sinh(v)];
    let [log, angle] = [-peak, 0];
    y.forEach((one, at) => {
      const [a, b] = [1 - re * one, -im * one];
      log -= (weight[at] * Math.log(a * a + b * b)) / 2;
      angle -= weight[at] * Math.atan2(b, a);
    });
    // exp(log + i angle) / s · slope, where the slope is ds / (i width dv)
    const [slopeRe, slopeIm] = [Math.cosh(v), -bend * Math.sinh(v)];
    const size = re * re + im * im;
    const [quotientRe, quotientIm] = [(slopeRe * re + slopeIm * im) / size, (slopeIm * re - slopeRe * im) / size];
    return Math.exp(log) * (Math.cos(angle) * quotientRe - Math.sin(angle) * quotientIm);
  },

  /** The point of the real line that the path goes through: c < 0, near the minimum of the integrand. */
  abscissa(y, weight) {
    let [low, high] = [1 / Math.min(...y), 0];
    while (high - low > -0.04 * high) {
      const c = (low + high) / 2;
      let slope = -1 / c;
      y.forEach((one, at) => {
        slope += (weight[at] * one) / (1 - c * one);
      });
      if (slope < 0) low = c;
      else high = c;
    }
    return (low + high) / 2;
  },
};

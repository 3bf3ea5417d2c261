// Paired statistics of two rows on the same images: exact tests, without random numbers.
"use strict";

purebench.paired = {
  /** McNemar's exact two-sided p-value of `better` and `worse` discordant images. */
  mcnemar(better, worse) {
    const n = better + worse;
    if (!n) return 1;
    let logTerm = n * Math.log(0.5);
    let total = Math.exp(logTerm);
    for (let k = 1; k <= Math.min(better, worse); k += 1) {
      logTerm += Math.log((n - k + 1) / k);
      total += Math.exp(logTerm);
    }
    return Math.min(1, 2 * total);
  },

  /** The most steps of the exact distribution of signs: about a second. */
  mostSteps: 4e8,

  /** Exact two-sided p-value of whole numbers d with random signs: P(|Σ ±d| ≥ |Σ d|); null if it takes too long. */
  signs(differences) {
    const sizes = differences.map(Math.abs).filter((one) => one > 0);
    const reach = sizes.reduce((sum, one) => sum + one, 0);
    if (!reach) return 1;
    if (2 * reach * sizes.length > this.mostSteps) return null;
    let chances = new Float64Array(2 * reach + 1);
    let next = new Float64Array(2 * reach + 1);
    chances[reach] = 1;
    let spread = 0;
    for (const size of sizes) {
      next.fill(0);
      for (let at = reach - spread; at <= reach + spread; at += 1) {
        const half = chances[at] / 2;
        if (half) {
          next[at - size] += half;
          next[at + size] += half;
        }
      }
      spread += size;
      [chances, next] = [next, chances];
    }
    const observed = Math.abs(differences.reduce((sum, one) => sum + one, 0));
    let total = 0;
    for (let at = 0; at <= 2 * reach; at += 1) if (Math.abs(at - reach) >= observed) total += chances[at];
    return Math.min(1, total);
  },

  /** The share of the guard in the level of the test (statistics/ranking/skewness.py). */
  guardShare: 1.5,

  /** p-value of differences of fractions: exact signs, and the guard against skewed differences; null if too slow. */
  fractions(whole, scale) {
    const signs = this.signs(whole);
    if (signs === null) return null;
    const toward = whole.reduce((sum, one) => sum + one, 0) >= 0 ? 1 : -1;
    const guard = purebench.gaffke.pValue(
      whole.map((one) => (1 + (toward * one) / scale) / 2),
      0.5,
    );
    return Math.max(signs, Math.min(1, this.guardShare * guard));
  },

  /** Interval of the mean of differences in [-1,1]: that of Gaffke, scaled. */
  difference(differences, confidence) {
    const [mean, low, high] = purebench.gaffke.interval(
      differences.map((one) => (1 + one) / 2),
      confidence,
    );
    return [mean, low, high].map((one) => 2 * one - 1);
  },

  /** Compares two rows (`row_details`) on the images that have a score in both. */
  compare(a, b, confidence) {
    const place = new Map(b.images.map((image, at) => [image, at]));
    const scale = a.fresh_draws === b.fresh_draws ? a.fresh_draws : a.fresh_draws * b.fresh_draws;
    const whole = [];
    a.images.forEach((image, at) => {
      const other = place.get(image);
      if (other === undefined || a.fresh[at] < 0 || b.fresh[other] < 0) return;
      whole.push((a.fresh[at] * scale) / a.fresh_draws - (b.fresh[other] * scale) / b.fresh_draws);
    });
    if (!whole.length) return null;
    const better = whole.filter((one) => one > 0).length;
    const worse = whole.filter((one) => one < 0).length;
    const answers = whole.every((one) => one === 0 || Math.abs(one) === scale);
    return {
      images: whole.length,
      better,
      worse,
      test: answers ? "McNemar, exact" : "random signs, exact, with a guard",
      p: answers ? this.mcnemar(better, worse) : this.fractions(whole, scale),
      difference: this.difference(
        whole.map((one) => one / scale),
        confidence,
      ),
    };
  },
};

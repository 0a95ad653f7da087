import type { Histogram as LibraryHistogram, Registry } from 'prom-client'

/** Counts how long things took, by one label. */
export interface Histogram {
  /** `value` is that of the label, from a short list: each one seen is kept. */
  observe(value: string, seconds: number): void
}

interface Series {
  /** Observations by the first bound they do not exceed; one more for those beyond all bounds. */
  readonly counts: Float64Array
  sum: number
}

/**
 * A histogram that reads to Prometheus as the library's own. That one composes the label and looks the bucket up by the text
 * of its bound at each observation, which took more of a request than its decision.
 */
export function createHistogram(
  registry: Registry,
  options: {
    readonly name: string
    readonly help: string
    readonly label: string
    /** Upper bounds in seconds, ascending. */
    readonly buckets: readonly number[]
  },
): Histogram {
  const { name, help, label, buckets } = options
  const all = new Map<string, Series>()

  const samples = () =>
    [...all].flatMap(([value, { counts, sum }]) => {
      let below = 0
      const bounded = [...buckets, '+Inf'].map((le, at) => {
        below += counts[at] ?? 0
        return { metricName: `${name}_bucket`, labels: { le, [label]: value }, value: below }
      })
      const labels = { [label]: value }
      return [
        ...bounded,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: below },
      ]
    })

  // All that a registry asks of a metric; its type asks for one of the library's classes.
  const metric = { name, get: async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: samples() }) }
  registry.registerMetric(metric as unknown as LibraryHistogram)

  return {
    observe(value, seconds) {
      let series = all.get(value)
      if (series === undefined) {
        series = { counts: new Float64Array(buckets.length + 1), sum: 0 }
        all.set(value, series)
      }
      let at = 0
      while (seconds > (buckets[at] ?? Number.POSITIVE_INFINITY)) at++
      series.counts[at] = (series.counts[at] ?? 0) + 1
      series.sum += seconds
    },
  }
}

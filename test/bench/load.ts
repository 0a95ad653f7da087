/** What one closed loop saw: every latency in milliseconds, in order, and how long it all took. */
export interface Sample {
  readonly latenciesMs: Float64Array
  readonly seconds: number
}

/** Figures of several loops of the same work. */
export interface Figures {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly perSecond: number
}

/**
 * Keeps `atOnce` calls under way for that long, each started as soon as the one before it has ended. A call that fails
 * fails the benchmark: figures of a path that refuses are worth nothing.
 */
export async function drive(call: () => Promise<void>, atOnce: number, forMs: number): Promise<Sample> {
  const latencies: number[] = []
  const startedMs = performance.now()
  const untilMs = startedMs + forMs
  const worker = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < untilMs; ) {
      await call()
      const endedMs = performance.now()
      latencies.push(endedMs - nowMs)
      nowMs = endedMs
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return { latenciesMs: Float64Array.from(latencies), seconds: (performance.now() - startedMs) / 1000 }
}

/** The value below which that share of the sorted values lies. */
export const quantile = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN

/** The middle value; the mean of the two middle ones when there is no single one. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? quantile(sorted, 0.5) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2
}

/**
 * The rounds of one variant as one: median and throughput are those of the middle round, so that a round in which the
 * machine did something else does not count; the p99 is over all calls, because that is where such things belong.
 */
export function figuresOf(rounds: readonly Sample[]): Figures {
  const all = Float64Array.from(rounds.flatMap(({ latenciesMs }) => [...latenciesMs])).sort()
  return {
    count: all.length,
    p50Ms: median(rounds.map(({ latenciesMs }) => quantile(latenciesMs.toSorted(), 0.5))),
    p99Ms: quantile(all, 0.99),
    perSecond: median(rounds.map(({ latenciesMs, seconds }) => latenciesMs.length / seconds)),
  }
}

/**
 * The median over the rounds of one variant's value divided by another's in the same round, so that the drift of a
 * machine others use as well cancels.
 */
export function ratioOf(ours: readonly Sample[], theirs: readonly Sample[], value: (sample: Sample) => number): number {
  return median(ours.map((sample, round) => value(sample) / value(theirs[round] ?? sample)))
}

/** Calls a second of one loop. */
export const perSecond = ({ latenciesMs, seconds }: Sample): number => latenciesMs.length / seconds

/** Median latency of one loop. */
export const p50Ms = ({ latenciesMs }: Sample): number => quantile(latenciesMs.toSorted(), 0.5)

/**
 * A histogram of times in microseconds. A bucket is at most 1/128 of its value wide, so quantiles are right within 0.8 %.
 * Recording allocates nothing, and the counts of several threads can be added.
 */
const subBits = 7;
const subBuckets = 1 << subBits;
/** Up to 2^31 us, more than half an hour; longer times count as that. */
const largestUs = 2 ** 31 - 1;
const bucketCount = (31 - subBits + 1) * subBuckets;

export interface Quantiles {
  p50Us: number;
  p90Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}

export class Histogram {
  readonly counts: Uint32Array<ArrayBuffer>;
  #largest = 0;

  /** `counts` of another one, as they came from another thread. */
  constructor(counts = new Uint32Array(bucketCount), largest = 0) {
    this.counts = counts;
    this.#largest = largest;
  }

  get max(): number {
    return this.#largest;
  }

  record(us: number): void {
    const value = us < 0 ? 0 : us > largestUs ? largestUs : us | 0;
    if (value > this.#largest) this.#largest = value;
    (this.counts[bucketOf(value)] as number)++;
  }

  add(other: Histogram): void {
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      (this.counts[bucket] as number) += other.counts[bucket] as number;
    }
    this.#largest = Math.max(this.#largest, other.max);
  }

  /** The middle of the bucket with the value of this rank, at most the largest value; 0 if empty. */
  quantile(share: number): number {
    const total = this.counts.reduce((sum, count) => sum + count, 0);
    if (total === 0) return 0;
    const rank = Math.min(Math.floor(share * total), total - 1);
    let passed = 0;
    const bucket = this.counts.findIndex((count) => {
      passed += count;
      return passed > rank;
    });
    return Math.min(middleOf(bucket), this.#largest);
  }

  quantiles(): Quantiles {
    const [p50Us, p90Us, p99Us, p999Us] = [0.5, 0.9, 0.99, 0.999].map((share) => this.quantile(share)) as [
      number,
      number,
      number,
      number,
    ];
    return { p50Us, p90Us, p99Us, p999Us, maxUs: this.#largest };
  }
}

function bucketOf(value: number): number {
  if (value < subBuckets) return value;
  const shift = 31 - Math.clz32(value) - subBits;
  return shift * subBuckets + (value >>> shift);
}

function middleOf(bucket: number): number {
  if (bucket < 2 * subBuckets) return bucket;
  const shift = Math.floor(bucket / subBuckets) - 1;
  return (bucket - shift * subBuckets) * 2 ** shift + 2 ** (shift - 1);
}

public import Synchronization

/// A latency histogram with fixed memory, one writer and any number of readers.
///
/// EXECUTIVE SUMMARY
/// - Values: 0 to 2^40 − 1 (18 minutes in nanoseconds); larger ones are counted in the last bucket.
/// - Error: a percentile is off by less than 1/128 of its value (0.8 %); values below 128 are exact.
/// - Memory: 2240 counters of 8 bytes, 17.5 KiB, allocated once.
/// - Cost: shift, add, one load and one store a value. No lock, no allocation, no read-modify-write.
/// - Threads: one writer at a time; `snapshot` from any thread at any time without stopping the writer.
///
/// DETAILS. Buckets are log-linear: the first 128 hold one value each; every later power of two is divided into 64
/// buckets. For a value of b significant bits (b > 7) the bucket is (b − 7) × 64 + (value >> (b − 7)): 128…255 →
/// 128…191, 256…511 → 192…255 (step 4), and so on. A reader sees each counter as it is when it comes by: counts of one
/// snapshot never run backwards against an earlier one, and the total is the sum of what was seen.
@safe public struct Histogram: ~Copyable, @unchecked Sendable {
    /// How many buckets a histogram has.
    public static let bucketCount = 2240
    /// The largest value told apart from larger ones.
    public static let largestValue: UInt64 = (1 << 40) - 1

    @usableFromInline let counts: UnsafeMutablePointer<Atomic<UInt64>>

    /// Allocates an empty histogram.
    public init() {
        // SAFETY: freshly allocated for bucketCount elements and initialised before anyone sees the address.
        unsafe counts = .allocate(capacity: Self.bucketCount)
        for bucket in 0..<Self.bucketCount { unsafe (counts + bucket).initialize(to: Atomic(0)) }
    }

    deinit {
        // SAFETY: allocated in init with this capacity; Atomic<UInt64> needs no deinitialisation.
        unsafe counts.deallocate()
    }

    /// Counts one value. Only ever from one thread at a time.
    @inlinable public func record(_ value: UInt64) {
        add(1, toBucket: Self.bucket(of: value))
    }

    /// Counts every value of `other` here too; `other` may go on recording.
    public func merge(_ other: borrowing Histogram) {
        for bucket in 0..<Self.bucketCount {
            let count = other.count(inBucket: bucket)
            if count != 0 { add(count, toBucket: bucket) }
        }
    }

    /// Forgets everything. Only by the writer.
    public func reset() {
        for bucket in 0..<Self.bucketCount {
            // SAFETY: bucket is below bucketCount.
            unsafe counts[bucket].store(0, ordering: .relaxed)
        }
    }

    /// What has been counted so far, as a value to keep. Allocates; call it off the hot path.
    public func snapshot() -> HistogramSnapshot {
        var copy = [UInt64](repeating: 0, count: Self.bucketCount)
        for bucket in 0..<Self.bucketCount { copy[bucket] = count(inBucket: bucket) }
        return HistogramSnapshot(counts: copy)
    }

    @inlinable func add(_ count: UInt64, toBucket bucket: Int) {
        // SAFETY: bucket(of:) and the loops above stay below bucketCount. One writer, so load and store need not be one
        // atomic step; both are atomic so that a reader never sees half a counter.
        let before = unsafe counts[bucket].load(ordering: .relaxed)
        unsafe counts[bucket].store(before &+ count, ordering: .relaxed)
    }

    @inlinable func count(inBucket bucket: Int) -> UInt64 {
        // SAFETY: bucket is below bucketCount at every caller.
        unsafe counts[bucket].load(ordering: .relaxed)
    }

    /// The bucket that counts `value`.
    @inlinable public static func bucket(of value: UInt64) -> Int {
        let value = min(value, largestValue)
        let shift = max(0, 57 &- value.leadingZeroBitCount)
        return Int(truncatingIfNeeded: UInt64(truncatingIfNeeded: shift) &* 64 &+ (value &>> UInt64(shift)))
    }

    /// The smallest and the largest value that `bucket` counts.
    public static func range(ofBucket bucket: Int) -> ClosedRange<UInt64> {
        guard bucket >= 128 else { return UInt64(bucket)...UInt64(bucket) }
        let shift = UInt64(bucket / 64 - 1)
        let low = (UInt64(bucket) - shift * 64) << shift
        return low...(low + (1 << shift) - 1)
    }
}

import EventRing
import Testing

@Suite("histogram", .hangLimit)
struct HistogramTests {
    @Test("buckets are in order, without gap or overlap, and each range maps back to its bucket")
    func ranges() {
        var next: UInt64 = 0
        for bucket in 0..<Histogram.bucketCount {
            let range = Histogram.range(ofBucket: bucket)
            #expect(range.lowerBound == next)
            #expect(Histogram.bucket(of: range.lowerBound) == bucket)
            #expect(Histogram.bucket(of: range.upperBound) == bucket)
            next = range.upperBound + 1
        }
        #expect(next == Histogram.largestValue + 1)
    }

    @Test("a value beyond the largest is counted in the last bucket")
    func beyond() {
        for value in [Histogram.largestValue, Histogram.largestValue + 1, UInt64.max] as [UInt64] {
            #expect(Histogram.bucket(of: value) == Histogram.bucketCount - 1)
        }
    }

    @Test("percentiles agree with a sorted array within one per cent", arguments: seeds(6))
    func percentiles(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let histogram = Histogram()
        var values: [UInt64] = []
        for _ in 0..<20_000 {
            // Spread over all magnitudes, or clustered: the shape itself is random.
            let bits = UInt64.random(in: 0..<(seed % 2 == 0 ? 40 : 14), using: &generator)
            let value = UInt64.random(in: 0...(1 << bits), using: &generator)
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        let snapshot = histogram.snapshot()
        #expect(snapshot.total == 20_000)
        for perMille in [1, 10, 250, 500, 900, 990, 999, 1000] {
            let rank = (20_000 * perMille + 999) / 1000
            let exact = Double(values[rank - 1])
            let found = Double(snapshot.percentile(Double(perMille) / 10))
            #expect(abs(found - exact) <= exact * 0.01, "seed \(seed), \(perMille) per mille: \(found) for \(exact)")
        }
        let mean = values.reduce(0.0) { $0 + Double($1) } / 20_000
        #expect(abs(snapshot.mean - mean) <= mean * 0.01, "seed \(seed)")
        #expect(Double(snapshot.minimum) <= Double(values[0]))
        #expect(Double(snapshot.maximum) >= Double(values[19_999]))
    }

    @Test("an empty histogram answers 0, and percentages out of range count as the nearer end")
    func edges() {
        let histogram = Histogram()
        #expect(histogram.snapshot().percentile(50) == 0)
        #expect(histogram.snapshot().minimum == 0 && histogram.snapshot().maximum == 0)
        for value in 1...100 as ClosedRange<UInt64> { histogram.record(value) }
        let snapshot = histogram.snapshot()
        #expect(snapshot.percentile(-5) == 1)
        #expect(snapshot.percentile(0) == 1)
        #expect(snapshot.percentile(100) == 100)
        #expect(snapshot.percentile(1000) == 100)
    }

    @Test("merging adds up, whether histograms or snapshots; since takes apart again")
    func merging() {
        let first = Histogram()
        let second = Histogram()
        for value in 0..<1000 as Range<UInt64> {
            first.record(value)
            second.record(value * 1000)
        }
        let before = first.snapshot()
        var merged = before
        merged.merge(second.snapshot())
        first.merge(second)
        #expect(first.snapshot() == merged)
        #expect(merged.total == 2000)
        #expect(first.snapshot().since(before) == second.snapshot())
        first.reset()
        #expect(first.snapshot() == HistogramSnapshot())
    }

    @Test("a reader sees totals that only grow, and in the end all, while the writer goes on")
    func concurrentReader() {
        let box = HistogramBox()
        let done = Flag()
        let writer = TestThread {
            for value in 0..<200_000 as Range<UInt64> { box.histogram.record(value &* 2_654_435_761 % 1_000_000) }
            done.set()
        }
        var last = HistogramSnapshot()
        while !done.isSet {
            let snapshot = box.histogram.snapshot()
            #expect(snapshot.total >= last.total)
            #expect(zip(snapshot.counts, last.counts).allSatisfy { $0 >= $1 })
            last = snapshot
        }
        writer.join()
        #expect(box.histogram.snapshot().total == 200_000)
    }
}

private final class HistogramBox: Sendable {
    let histogram = Histogram()
}

import EventRing
import Foundation
import Glibc
import InterruptModel
import Testing

@testable import irqmux

@Suite("Output forms")
struct OutputFormatTests {
    private static func snapshot(_ values: [UInt64]) -> HistogramSnapshot {
        let histogram = Histogram()
        for value in values { histogram.record(value) }
        return histogram.snapshot()
    }

    private static let plain = Terminal(isTerminal: false, hasColour: false)

    @Test("JSON keeps the order of its keys and survives any text")
    func json() throws {
        let hostile = "quote \" backslash \\ newline \n tab \t bell \u{7} é ✓ 😀"
        let value = JSON.object([
            ("z", .string(hostile)), ("a", .integer(.max)), ("n", .number(1.5)), ("m", .number(-22)),
            ("t", .boolean(true)),
            ("none", .null), ("list", .array([.integer(1), .object([]), .array([])])), ("inf", .number(.infinity)),
        ])
        let text = value.text
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(parsed["z"] as? String == hostile)
        #expect((parsed["a"] as? NSNumber)?.uint64Value == .max)
        #expect(parsed["n"] as? Double == 1.5)
        #expect(parsed["m"] as? Int == -22)
        #expect(parsed["none"] is NSNull && parsed["inf"] is NSNull)
        #expect((parsed["list"] as? [Any])?.count == 3)
        let order = ["\"z\"", "\"a\"", "\"n\"", "\"list\""].compactMap { text.firstRange(of: $0)?.lowerBound }
        #expect(order.count == 4 && order == order.sorted())
    }

    @Test(
        "a length of time is told with three digits",
        arguments: [
            (0, "0 ns"), (812, "812 ns"), (999, "999 ns"), (1000, "1.00 us"), (20_349, "20.3 us"), (99_960, "100 us"),
            (999_499, "999 us"), (999_500, "1.00 ms"), (1_500_000, "1.50 ms"), (12_345_678_901, "12.3 s"),
            (0.5, "0.50 ns"), (1e15, "1000000 s"),
        ] as [(Double, String)])
    func durations(nanoseconds: Double, text: String) {
        #expect(NumberText.duration(nanoseconds) == text)
    }

    @Test("decimals are rounded half away from zero and can lose their closing zeros")
    func decimals() {
        #expect(NumberText.decimal(1.005e3, places: 2) == "1005.00")
        #expect(NumberText.decimal(0.125, places: 2) == "0.13")
        #expect(NumberText.decimal(-0.5, places: 0) == "-1")
        #expect(NumberText.decimal(-0.0001, places: 2) == "0.00")
        #expect(NumberText.decimal(2.5, places: 3, trimmed: true) == "2.5")
        #expect(NumberText.decimal(20, places: 3, trimmed: true) == "20")
    }

    @Test("the summary has the seven figures under the names of the schema")
    func summary() throws {
        let json = LatencySummary(Self.snapshot(Array(1...100))).json.text
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Double])
        #expect(Set(parsed.keys) == ["min", "p50", "p90", "p99", "p99_9", "max", "mean"])
        #expect(parsed["min"] == 1 && parsed["p50"] == 50 && parsed["p90"] == 90 && parsed["max"] == 100)
        #expect(parsed["mean"] == 50.5)
    }

    @Test("a summary of nothing says null and not zero")
    func emptySummary() throws {
        let json = LatencySummary(HistogramSnapshot()).json.text
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        #expect(parsed.count == 7 && parsed.values.allSatisfy { $0 is NSNull })
    }

    @Test("the table has one row a series, aligned under its heads")
    func table() {
        let text = PercentileTable.text(
            [
                LatencySeries(name: "block", snapshot: Self.snapshot([25_000, 30_000])),
                LatencySeries(name: "nothing", snapshot: HistogramSnapshot()),
            ], terminal: Self.plain)
        let lines = text.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(Set(lines.map(\.count)).count == 1)
        #expect(lines[0].split(separator: " ") == ["min", "p50", "p90", "p99", "p99.9", "max", "mean", "count"])
        #expect(lines[1].hasPrefix("block") && lines[1].contains("27.5 us"))
        #expect(lines[2].split(separator: " ") == ["nothing", "-", "-", "-", "-", "-", "-", "-", "0"])
    }

    @Test("the drawn histogram has a row for every power of two, a bar in proportion, and the percentiles beside it")
    func bars() {
        let values = [UInt64](repeating: 700, count: 80) + [UInt64](repeating: 3000, count: 20)
        let lines = HistogramBars.text(Self.snapshot(values), terminal: Self.plain).split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].hasPrefix("[512ns, 1.02us)") && lines[0].hasSuffix("| p50"))
        #expect(lines[0].count { $0 == "@" } == 40)
        #expect(lines[1].count { $0 == "@" } == 0)
        #expect(lines[2].count { $0 == "@" } == 10)
        #expect(lines[2].hasSuffix("| p90 p99 p99.9"))
    }

    @Test("a single value among a million still shows in the drawing")
    func rareValue() {
        let histogram = Histogram()
        let many = [UInt64](repeating: 1000, count: 10_000)
        for value in many { histogram.record(value) }
        histogram.record(1_000_000)
        let lines = HistogramBars.text(histogram.snapshot(), terminal: Self.plain).split(separator: "\n")
        #expect(lines.last?.count { $0 == "@" } == 1)
        #expect(HistogramBars.text(HistogramSnapshot(), terminal: Self.plain) == "(nothing was measured)\n")
    }

    @Test("the percentile distribution is what HdrHistogram's plotter reads: rising, closed by 100 %, with its footer")
    func hgrm() throws {
        let text = HgrmDocument.text(Self.snapshot((1...10_000).map { UInt64($0) * 10 }))
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines[0].split(separator: " ") == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
        #expect(lines[1].isEmpty)
        let rows = lines.dropFirst(2).prefix { !$0.hasPrefix("#") }.map { $0.split(separator: " ") }
        #expect(rows.dropLast().allSatisfy { $0.count == 4 })
        #expect(rows.last?.count == 3)
        let fractions = try rows.map { try #require(Double($0[1])) }
        #expect(fractions.first == 0 && fractions.last == 1)
        #expect(fractions == fractions.sorted() && Set(fractions).count == fractions.count)
        let counts = try rows.map { try #require(UInt64($0[2])) }
        #expect(counts == counts.sorted() && counts.last == 10_000)
        for row in rows.dropLast() {
            let fraction = try #require(Double(row[1]))
            let value = try #require(Double(row[0]))
            // Values are 10 ns apart up to 100 us, so the value at a fraction is that fraction of 100 us.
            #expect(abs(value - fraction * 100) <= 0.01 * max(fraction * 100, 1) + 0.01)
        }
        #expect(lines.contains { $0.hasPrefix("#[Mean    =") && $0.contains("StdDeviation   =") })
        #expect(lines.contains { $0.hasPrefix("#[Max     =") && $0.hasSuffix("       10000]") })
        #expect(lines.contains { $0.hasPrefix("#[Buckets =") && $0.contains("SubBuckets     =") })
    }

    @Test("a distribution of nothing and of one value ends")
    func hgrmEdges() {
        #expect(HgrmDocument.text(HistogramSnapshot()).contains("Total count    =            0]"))
        let one = HgrmDocument.text(Self.snapshot([5]))
        #expect(one.contains("1.000000000000"))
    }

    @Test("CSV has a head, a row a series, and quotes where it must")
    func csv() {
        let text = CSVDocument.text([
            LatencySeries(name: "latency", snapshot: Self.snapshot([100])),
            LatencySeries(name: "a,\"b\"", snapshot: HistogramSnapshot()),
        ])
        #expect(
            text == #"""
                series,count,min_ns,p50_ns,p90_ns,p99_ns,p99_9_ns,max_ns,mean_ns
                latency,1,100,100,100,100,100,100,100
                "a,""b""",0,,,,,,,

                """#)
    }

    @Test("an error of any room is told as operation, errno and remedy")
    func failures() {
        let device = CommandFailure(DeviceError("SET_IRQS", errno: ENOSPC, remedy: "use fewer vectors"))
        #expect(device?.description == "SET_IRQS: ENOSPC: use fewer vectors" && device?.status == .failure)
        #expect(CommandFailure(DeviceError("SET_IRQS", errno: EINVAL))?.description == "SET_IRQS: EINVAL")
        #expect(CommandFailure(RingError("eventfd", errno: EMFILE))?.description == "eventfd: EMFILE")
        #expect(CommandFailure(UsageError("x")) == nil)
    }

    @Test("a diagnostic stays one line whatever was typed")
    func singleLine() {
        #expect(Diagnostics.singleLine("a\nb\r\nc\u{1B}[31m\u{7F}") == "a b c [31m ")
    }

    @Test("steal time is the share of the ticks between two readings")
    func stealTime() throws {
        let first = try #require(StealTime(statText: "cpu  100 0 100 700 50 0 0 50 0 0\ncpu0 1 2"))
        let second = try #require(StealTime(statText: "cpu  150 0 120 720 50 0 0 60 9 0\n"))
        #expect(first.percent() == 5)
        #expect(second.percent(since: first) == 10)
        #expect(first.percent(since: first) == 0)
        #expect(StealTime(statText: "intr 5") == nil)
        #expect(StealTime(statText: "") == nil)
    }
}

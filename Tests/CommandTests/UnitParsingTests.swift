import Testing

@testable import irqmux

@Suite("Durations, rates and counts")
struct UnitParsingTests {
    @Test(
        "a duration takes every unit, and decimals exactly",
        arguments: [
            ("1ns", 1), ("20us", 20_000), ("20\u{B5}s", 20_000), ("20\u{3BC}s", 20_000), ("1.5ms", 1_500_000),
            ("30s", 30_000_000_000), ("10m", 600_000_000_000), ("2h", 7_200_000_000_000), ("0s", 0), ("0.3us", 300),
            ("0.000000001s", 1),
        ] as [(String, UInt64)])
    func durations(text: String, nanoseconds: UInt64) throws {
        #expect(try DurationArgument(parsing: text).nanoseconds == nanoseconds)
    }

    @Test(
        "a duration without unit, with a foreign unit or out of range is refused, and told what is accepted",
        arguments: [
            "", "10", "1.5", "ms", "10 ms", "10min", "10S", "-1ms", "1e3us", "1.2.3ms", "0.5ns", "1h30m",
            "99999999999999999999ns", "18446744073709551616ns", "5125000h", ".s",
        ])
    func refusedDurations(text: String) {
        let error = #expect(throws: UsageError.self) { try DurationArgument(parsing: text) }
        #expect(error?.description.contains("accepted:") == true)
    }

    @Test("a duration that is printed reads back as itself")
    func durationRoundTrip() throws {
        var random = SeededGenerator()
        for _ in 0..<2000 {
            // Every magnitude as often: shifting away a random number of bits.
            let nanoseconds = random.next() >> UInt64.random(in: 0..<64, using: &random)
            let text = DurationArgument(nanoseconds: nanoseconds).description
            let read = try DurationArgument(parsing: text).nanoseconds
            #expect(read == nanoseconds, "\(text), seed \(random.seed)")
        }
    }

    @Test("a decimal with n digits after the point is the number without it, divided by ten to the n")
    func decimalsAreExact() throws {
        var random = SeededGenerator()
        for _ in 0..<2000 {
            let whole = UInt64.random(in: 0..<1_000_000, using: &random)
            let micro = UInt64.random(in: 0..<1_000_000, using: &random)
            let digits = String(1_000_000 + micro).dropFirst()
            let read = try DurationArgument(parsing: "\(whole).\(digits)ms").nanoseconds
            #expect(read == whole * 1_000_000 + micro, "seed \(random.seed)")
        }
    }

    @Test("no text, however hostile, makes the parsers trap")
    func hostileTexts() {
        var random = SeededGenerator()
        let alphabet = Array("0123456789.,-+:=<>@/xkMGnumsh% \u{B5}\u{0}\n")
        for _ in 0..<20_000 {
            let length = Int.random(in: 0...24, using: &random)
            let text = String((0..<length).map { _ in alphabet[Int.random(in: alphabet.indices, using: &random)] })
            _ = try? DurationArgument(parsing: text)
            _ = try? RateArgument(parsing: text)
            _ = try? CountArgument(parsing: text)
            _ = try? CPUList(parsing: text)
            _ = try? Assertion(parsing: "p" + text)
            _ = try? DeviceName(parsing: "software:" + text)
            _ = try? RequestArgument(parsing: "msix:trigger:eventfd" + text)
        }
    }

    @Test(
        "a rate names its period",
        arguments: [
            ("10k/s", 10_000), ("2/ms", 2000), ("500Hz", 500), ("1.5kHz", 1500), ("1M/s", 1e6), ("60/m", 1),
            ("1/us", 1e6), ("3600/h", 1), ("1G/s", 1e9),
        ] as [(String, Double)])
    func rates(text: String, perSecond: Double) throws {
        let rate = try RateArgument(parsing: text)
        #expect(abs(rate.perSecond - perSecond) < perSecond * 1e-12)
        #expect(rate.description == text)
    }

    @Test(
        "a rate that is bare, zero, beyond a billion a second or of no known period is refused",
        arguments: ["", "10000", "10k", "0/s", "0.0Hz", "2G/s", "10/day", "k/s", "-5/s", "10 k/s", "1/ns", "10kk/s"])
    func refusedRates(text: String) {
        let error = #expect(throws: UsageError.self) { try RateArgument(parsing: text) }
        #expect(error?.description.contains("accepted:") == true)
    }

    @Test("the hundred-millionth event of a rate that does not divide a second is due without drift")
    func rateDoesNotDrift() throws {
        let rate = try RateArgument(parsing: "3k/s")
        #expect(rate.nanoseconds(ofEvent: 0) == 0)
        #expect(rate.nanoseconds(ofEvent: 1) == 333_333)
        #expect(rate.nanoseconds(ofEvent: 3) == 1_000_000)
        #expect(rate.nanoseconds(ofEvent: 300_000_000) == 100_000_000_000_000)
    }

    @Test("an event that a slow rate puts centuries ahead is due at the end of time, and not a crash")
    func slowestRate() throws {
        let rate = try RateArgument(parsing: "0.0000000000000000001/s")
        #expect(rate.nanoseconds(ofEvent: 0) == 0)
        #expect(rate.nanoseconds(ofEvent: 1) == .max)
        #expect(try RateArgument(parsing: "1/h").nanoseconds(ofEvent: .max) == .max)
    }

    @Test("a count takes multiples", arguments: [("64", 64), ("10k", 10_000), ("1.5M", 1_500_000), ("0", 0)])
    func counts(text: String, value: UInt64) throws {
        #expect(try CountArgument(parsing: text).value == value)
    }

    @Test("what is no whole count is refused", arguments: ["", "k", "1.5", "10K", "ten", "-1", "1e3", "64 "])
    func refusedCounts(text: String) {
        #expect(throws: UsageError.self) { try CountArgument(parsing: text) }
    }

    @Test("a list of processors prints as it is written and reads back as itself")
    func processorLists() throws {
        #expect(try CPUList(parsing: "0-3,6").numbers == [0, 1, 2, 3, 6])
        #expect(try CPUList(parsing: "3,1,2,1").numbers == [3, 1, 2])
        #expect(try CPUList(parsing: "3,1,2,1").description == "3,1-2")
        var random = SeededGenerator()
        for _ in 0..<500 {
            let list = CPUList((0..<8).map { _ in Int.random(in: 0...20, using: &random) })
            #expect(try CPUList(parsing: list.description) == list, "seed \(random.seed)")
        }
    }

    @Test("what is no list of processors is refused", arguments: ["", ",", "1,", "3-1", "a", "1-2-3", "-1", "0-9999"])
    func refusedProcessorLists(text: String) {
        #expect(throws: UsageError.self) { try CPUList(parsing: text) }
    }
}

/// A random generator that can be started again from the seed a failure prints.
struct SeededGenerator: RandomNumberGenerator {
    let seed: UInt64
    private var state: UInt64

    init(seed: UInt64 = .random(in: 1 ... .max)) {
        self.seed = seed
        state = seed
    }

    mutating func next() -> UInt64 {
        // SplitMix64.
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

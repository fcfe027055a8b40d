/// How much processor time the hypervisor gave to somebody else, from the first line of /proc/stat.
struct StealTime {
    let stolenTicks: UInt64
    let totalTicks: UInt64

    /// Since boot; `nil` where the kernel does not count it.
    static func read() -> StealTime? { SystemFiles.text("/proc/stat").flatMap { StealTime(statText: $0) } }

    init(stolenTicks: UInt64, totalTicks: UInt64) {
        self.stolenTicks = stolenTicks
        self.totalTicks = totalTicks
    }

    /// Reads `cpu user nice system idle iowait irq softirq steal …`; guest time is part of user time already.
    init?(statText: String) {
        guard let line = statText.split(separator: "\n").first else { return nil }
        let fields = line.split(separator: " ")
        guard fields.count >= 9, fields[0] == "cpu" else { return nil }
        let ticks = fields[1...8].compactMap { UInt64($0) }
        guard ticks.count == 8 else { return nil }
        stolenTicks = ticks[7]
        totalTicks = ticks.reduce(0, &+)
    }

    /// The share in percent between `earlier` and this reading; 0 when no tick went by.
    func percent(since earlier: StealTime = StealTime(stolenTicks: 0, totalTicks: 0)) -> Double {
        guard totalTicks > earlier.totalTicks, stolenTicks >= earlier.stolenTicks else { return 0 }
        return 100 * Double(stolenTicks - earlier.stolenTicks) / Double(totalTicks - earlier.totalTicks)
    }
}

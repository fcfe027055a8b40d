internal import ArgumentParser

/// How the loop waits for the next interrupt.
enum WaitChoice: String, CaseIterable, ExpressibleByArgument {
    /// Sleep in the kernel: no processor time, the scheduler's wake-up latency.
    case block
    /// Watch the ring without a pause: lowest latency, one whole processor.
    case spin
    /// Spin for a budget that hits grow and misses shrink, then block.
    case adaptive
}

/// Which way a measured interrupt takes.
enum PathChoice: String, CaseIterable, ExpressibleByArgument {
    /// One thread writes eventfds, the loop receives: the floor of everything else.
    case eventfd
    /// The device raises, SET_IRQS's eventfd signals, the loop receives.
    case loopback
    /// Device → loop → irqfd → guest's handler → ioeventfd → loop, through a real guest, stage by stage.
    case kvm
    /// irqfd → guest's handler → ioeventfd → loop: the same guest, with nobody on the way in.
    case bypass

    /// Whether a guest takes the interrupts.
    var hasGuest: Bool { self == .kvm || self == .bypass }
}

/// The forms of a report.
enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
    case text, json
}

/// The forms of loopback's report.
enum LoopbackFormat: String, CaseIterable, ExpressibleByArgument {
    /// Lines for people.
    case text
    /// One object with every check.
    case json
    /// The Test Anything Protocol.
    case tap
    /// JUnit's XML.
    case junit
}

/// The forms of a measurement.
enum MeasurementFormat: String, CaseIterable, ExpressibleByArgument {
    /// A table and a histogram for people.
    case text
    /// One object with every figure.
    case json
    /// One row per series.
    case csv
    /// HdrHistogram's percentile distribution, for its plotter.
    case hgrm
}

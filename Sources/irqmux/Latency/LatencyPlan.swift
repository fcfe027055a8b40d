internal import InterruptModel

/// What latency is asked to measure.
struct LatencyPlan {
    var path: PathChoice
    var wait: WaitChoice
    /// For the loopback path: which interrupts of which device.
    var index: IRQIndex
    /// The device of the paths that have one.
    var device: OpenedDevice?
    var vectors: Int
    /// How many signals are measured at most.
    var count: UInt64
    /// How long is measured at most, in nanoseconds; `nil` for as long as `count` takes.
    var durationNs: UInt64?
    /// Signals are due at this rate; `nil` sends the next one when the last one has been handled.
    var rate: RateArgument?
    /// Signals of this long are sent first and not measured, in nanoseconds.
    var warmUpNs: UInt64
    /// Where the receiver, the sender and the guest run, in this order; fewer leave the rest to the scheduler.
    var cpus: [Int]
    /// Where the process may run at all, as of its start.
    var usableCPUs: CPUList

    var receiverCPU: Int? { cpus.first }
    var senderCPU: Int? { cpus.count > 1 ? cpus[1] : nil }
    var guestCPU: Int? { cpus.count > 2 ? cpus[2] : nil }

    /// The most signals under way on one vector. A device does not wait, so a message may overtake its handling and
    /// share a notification; a guest, a level-triggered line and hardware that merges messages are measured one by one,
    /// since what they merge cannot be told apart afterwards.
    var mostUnderWay: UInt64 {
        path.hasGuest || (path == .loopback && index == .intx) || (device?.mayMerge ?? false) ? 1 : .max
    }
}

extension LatencyPlan {
    /// The device that the path needs, and that was opened with the plan.
    var openedDevice: OpenedDevice {
        get throws(CommandFailure) {
            guard let device else { throw CommandFailure(.failure, "the path \(path.rawValue) has no device") }
            return device
        }
    }
}

extension OpenedDevice {
    /// Raises on the sender's thread. What cannot be raised never arrives, and is told as lost.
    func raiseOrLose(_ vector: Vector) {
        do throws(DeviceError) { try raise(vector) } catch {
            Diagnostics.warning("\(CommandFailure(error)?.description ?? "")")
        }
    }
}

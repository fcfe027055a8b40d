internal import CKernel
internal import EventRing
internal import IRQMux
internal import InterruptModel
internal import KVM
internal import MicroGuest

// The paths through a real guest, whose handler rings a doorbell for each interrupt.
extension LatencyRun {
    /// irqfd → guest's handler → ioeventfd → loop, through a real guest. One turn is one latency.
    func measureBypass() throws -> LatencyResult {
        let guest = try makeGuest()
        let eventFDs = try Owned.eventFDs(plan.vectors)
        var irqfds: [Owned<IRQFD>] = []
        for (message, eventFD) in eventFDs.enumerated() {
            let irqfd = try guest.virtualMachine.assignIRQFD(eventFD.value, gsi: guest.gsi(forMessage: message))
            irqfds.append(Owned(irqfd))
        }
        var loop = try EventLoop(loopOptions)
        for message in 0..<plan.vectors {
            _ = try loop.add(guest.doorbell(message).number, tag: UInt64(message))
        }
        var result = try receive(on: &loop) { lane in _ = irqmux_eventfd_signal(eventFDs[lane].value.number, 1) }
        if let exit = guest.exit { result.trouble = "the guest \(exit)" }
        irqfds.removeAll()
        guest.stop()
        return result
    }

    /// Device → mux → irqfd → guest's handler → ioeventfd → mux, and every stage of it.
    func measureDetour() throws -> LatencyResult {
        let guest = try makeGuest()
        let device = try plan.openedDevice
        var mux = try Mux(detourOptions)
        let deviceID = try mux.attach(device)
        let stages = try detour(deviceID, into: guest, on: &mux)
        let log = SignalLog(lanes: plan.vectors)
        let remote = mux.remote
        let warmUp = Kept<[StageSnapshots]>()
        let stimulus = Stimulus(
            plan, log, mux.time, interruption,
            startsMeasuring: { warmUp.keep(stages.map { StageSnapshots($0) }) },
            signal: { device.raiseOrLose(Vector(.msix, UInt32($0))) })
        var recorder = LatencyRecorder(log, mux.time)
        let sender = try start(stimulus) { remote.stop() }
        let progress = try LatencyProgress.start(plan, log)
        do {
            mux.beginRun()
            defer { mux.endRun() }
            while !mux.isStopping {
                try mux.wait()
                while let event = mux.next() {
                    if event.kind == .source { recorder.handle(Int(truncatingIfNeeded: event.tag)) }
                }
            }
            try awaitAcknowledgements(stages, on: &mux)
        } catch {
            stimulus.stop()
            sender.join()
            throw error
        }
        sender.join()
        progress?.end()
        var result = result(recorder, stimulus, mux.ringReport, HistogramSnapshot(), nil)
        result.guestStages = StageSnapshots.series(stages, since: warmUp.value)
        result.ledger = try mux.ledger(deviceID)
        if let exit = guest.exit { result.trouble = "the guest \(exit)" }
        guest.stop()
        return result
    }

    /// The loop hears a doorbell twice, as the receiver's and as the acknowledgement: the last one may have been the
    /// receiver's only when it was stopped. For a second at most, as a guest may have ended.
    private func awaitAcknowledgements(_ stages: [StageHistograms], on mux: inout Mux) throws {
        let begin = irqmux_monotonic_ns()
        while stages.contains(where: { $0.unacknowledgedSince != nil }),
            irqmux_monotonic_ns() &- begin < 1_000_000_000
        {
            try mux.wait(timeout: 1_000_000)
            while mux.next() != nil {}
        }
    }

    /// A vector, its doorbell as the receiver sees it, and the same doorbell as the guest's acknowledgement.
    private var detourOptions: MuxOptions {
        var options = MuxOptions()
        options.loop = loopOptions
        options.loop.capacity = 3 * plan.vectors
        options.devices = 1
        options.fanOutTargets = 0
        return options
    }

    /// Connects the device's vectors, each with a message of the guest's, by way of the mux.
    private func detour(
        _ deviceID: DeviceID, into guest: MicroGuest, on mux: inout Mux
    ) throws -> [StageHistograms] {
        try mux.attach(guest: guest.virtualMachine, routes: guest.withRouting { $0.live })
        let vectors = try mux.connect(deviceID, .msix, 0..<UInt32(plan.vectors), route: .parked)
        var stages: [StageHistograms] = []
        for (message, vector) in vectors.enumerated() {
            let doorbell = guest.doorbell(message).number
            try mux.route(vector, to: .detour(guest.gsi(forMessage: message)))
            stages.append(try mux.measure(vector, acknowledgedBy: doorbell))
            _ = try mux.addSource(doorbell, tag: UInt64(message))
        }
        return stages
    }

    /// A guest that runs, on its own processor where one was given.
    private func makeGuest() throws -> MicroGuest {
        // The guest's thread inherits where this one may run.
        if let cpu = plan.guestCPU { try WorkerThread.pinThisThread(to: cpu) }
        do throws(MicroGuestError) {
            let guest = try MicroGuest(messageVectors: plan.vectors)
            try guest.start()
            return guest
        } catch {
            switch error {
            case .needsX86: throw CommandFailure(.unavailable, "\(error)")
            case .kvm(let error) where error.operation == .open || error.operation == .createVirtualMachine:
                throw CommandFailure(.unavailable, "\(error) (irqmux doctor says more)")
            default: throw CommandFailure(.failure, "the guest: \(error)")
            }
        }
    }
}

internal import CKernel
internal import EventRing
internal import IRQMux
internal import InterruptModel

extension LatencyRun {
    /// The sender writes eventfds, the loop receives: the floor of everything else.
    func measureEventFD() throws -> LatencyResult {
        let eventFDs = try Owned.eventFDs(plan.vectors)
        var loop = try EventLoop(loopOptions)
        for (lane, eventFD) in eventFDs.enumerated() { _ = try loop.add(eventFD.value.number, tag: UInt64(lane)) }
        return try receive(on: &loop) { lane in _ = irqmux_eventfd_signal(eventFDs[lane].value.number, 1) }
    }

    /// The software device raises, the eventfd of SET_IRQS signals, the mux hands out.
    func measureLoopback() throws -> LatencyResult {
        var options = MuxOptions()
        options.loop = loopOptions
        options.devices = 1
        options.fanOutTargets = 0
        let index = plan.index
        let device = try plan.openedDevice
        var mux = try Mux(options)
        let deviceID = try mux.attach(device)
        try mux.connect(deviceID, index, 0..<UInt32(plan.vectors))
        let log = SignalLog(lanes: plan.vectors)
        let remote = mux.remote
        let warmUp = Kept<HistogramSnapshot>()
        let stimulus = Stimulus(
            plan, log, mux.time, interruption, startsMeasuring: { warmUp.keep(remote.dispatchDelays) },
            signal: { device.raiseOrLose(Vector(index, UInt32($0))) })
        var recorder = LatencyRecorder(log, mux.time)
        let sender = try start(stimulus) { remote.stop() }
        let progress = try LatencyProgress.start(plan, log)
        do {
            mux.beginRun()
            defer { mux.endRun() }
            while !mux.isStopping {
                try mux.wait()
                while let event = mux.next() {
                    let lane = Int(truncatingIfNeeded: event.tag)
                    let number = recorder.measure(lane)
                    // A level-triggered line is quieted before the sender may raise it again, or that raise would find
                    // it high and be withdrawn with it; and before the next look acknowledges it.
                    if index == .intx { try device.quiet() }
                    recorder.settle(lane, upTo: number)
                }
            }
        } catch {
            stimulus.stop()
            sender.join()
            throw error
        }
        sender.join()
        progress?.end()
        var result = result(recorder, stimulus, mux.ringReport, remote.dispatchDelays, warmUp.value)
        result.ledger = try mux.ledger(deviceID)
        return result
    }
}

internal import EventRing

/// Runs one measurement: the sender on a thread of its own, the receiver here.
struct LatencyRun {
    let plan: LatencyPlan
    let interruption: Interruption

    func measure() throws -> LatencyResult {
        switch plan.path {
        case .eventfd: try measureEventFD()
        case .loopback: try measureLoopback()
        case .kvm: try measureDetour()
        case .bypass: try measureBypass()
        }
    }

    /// A loop with room for the vectors and nothing else.
    var loopOptions: LoopOptions {
        var options = LoopOptions()
        options.capacity = plan.vectors
        options.timers = 1
        options.waiting = plan.wait.mode
        return options
    }

    /// Receives on `loop`, whose sources have their lanes for tags, until the sender is done.
    ///
    /// - Parameter signal: Signals a lane, on the sender's thread.
    func receive(
        on loop: inout EventLoop, _ signal: @escaping @Sendable (Int) -> Void
    ) throws -> LatencyResult {
        let log = SignalLog(lanes: plan.vectors)
        let remote = loop.remote
        let warmUp = Kept<HistogramSnapshot>()
        let stimulus = Stimulus(
            plan, log, loop.time, interruption, startsMeasuring: { warmUp.keep(remote.dispatchDelays) },
            signal: signal)
        var recorder = LatencyRecorder(log, loop.time)
        let sender = try start(stimulus) { remote.stop() }
        let progress = try LatencyProgress.start(plan, log)
        do {
            loop.beginRun()
            defer { loop.endRun() }
            while !loop.isStopping {
                try loop.wait()
                while let event = loop.next() { recorder.handle(Int(truncatingIfNeeded: event.tag)) }
            }
        } catch {
            stimulus.stop()
            sender.join()
            throw error
        }
        sender.join()
        progress?.end()
        return result(recorder, stimulus, loop.report, remote.dispatchDelays, warmUp.value)
    }

    /// Starts the sender, and puts this thread where the receiver belongs.
    ///
    /// - Parameter end: Stops the receiver.
    func start(_ stimulus: Stimulus, _ end: @escaping @Sendable () -> Void) throws -> WorkerThread {
        if let cpu = plan.receiverCPU { try WorkerThread.pinThisThread(to: cpu) }
        return try WorkerThread("irqmux-sender", cpu: plan.senderCPU) {
            stimulus.run()
            end()
        }
    }

    func result(
        _ recorder: borrowing LatencyRecorder, _ stimulus: Stimulus, _ ring: RingReport,
        _ dispatch: HistogramSnapshot, _ warmUp: HistogramSnapshot?
    ) -> LatencyResult {
        let snapshots = recorder.snapshots()
        return LatencyResult(
            fromDue: snapshots.fromDue, fromSend: snapshots.fromSend, lateness: snapshots.lateness,
            // Without a beginning nothing was measured.
            dispatch: warmUp.map { dispatch.since($0) } ?? HistogramSnapshot(), sent: stimulus.sent,
            lost: stimulus.sent - recorder.handled, coalesced: recorder.coalesced, ring: ring)
    }
}

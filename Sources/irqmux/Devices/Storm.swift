internal import EventRing
internal import InterruptModel
internal import Synchronization

/// Signals vectors by lot on a thread of its own, by SET_IRQS's loopback, one a request.
final class Storm: Sendable {
    private let running = Atomic<Bool>(false)
    private let stopping = Atomic<Bool>(false)
    private let thread = Mutex<Running>(Running())

    private struct Running: @unchecked Sendable {
        var thread: WorkerThread?
    }

    /// Whether it goes on.
    var isRunning: Bool { running.load(ordering: .acquiring) }

    func start(_ device: OpenedDevice, _ index: IRQIndex, width: UInt32, count: UInt64, seed: UInt64) throws {
        stop()
        stopping.store(false, ordering: .relaxed)
        running.store(true, ordering: .releasing)
        // The device outlives its storm: it stops it on its way out.
        let job: @Sendable () -> Void = { [unowned device, self] in
            var lot = seed
            for _ in 0..<count {
                guard !stopping.load(ordering: .relaxed) else { break }
                lot = lot &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let number = UInt32((lot >> 33) % UInt64(width))
                let request = IRQRequest(index, .trigger, start: number, .none(count: 1))
                do throws(DeviceError) { _ = try device.setInterrupts(request) } catch { break }
            }
            running.store(false, ordering: .releasing)
        }
        do throws(RingError) {
            let started = Running(thread: try WorkerThread("irqmux-storm", cpu: nil, job))
            thread.withLock { $0 = started }
        } catch {
            running.store(false, ordering: .relaxed)
            throw error
        }
    }

    /// Ends it and waits for that. No effect when none runs.
    func stop() {
        stopping.store(true, ordering: .relaxed)
        let former = thread.withLock { running in
            defer { running = Running() }
            return running
        }
        former.thread?.join()
    }
}

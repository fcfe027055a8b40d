import CKernel
import Foundation
import KVM
import Synchronization
import TestSupport
import Testing

@Suite("KVM_CREATE_VM among signals", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct InterruptedCallTests {
    /// Sends its maker's thread a signal every 100 µs, which has a handler that does nothing and no SA_RESTART.
    private final class Pester: Sendable {
        private let going = Atomic<Bool>(true)
        private let ended = DispatchSemaphore(value: 0)
        /// A real-time signal; SIGRTMIN is a macro that Swift cannot import.
        private let number: Int32 = 40

        init() {
            var action = sigaction()
            // SAFETY: the handler touches nothing; the number is used by this test alone, so it may stay installed.
            unsafe action.__sigaction_handler.sa_handler = { _ in }
            // SAFETY: the structure outlives the call.
            unsafe sigaction(number, &action, nil)
            // Tests run on threads that block signals.
            var wanted = sigset_t()
            // SAFETY: the set outlives the calls.
            unsafe sigemptyset(&wanted)
            // SAFETY: as above.
            unsafe sigaddset(&wanted, number)
            // SAFETY: as above; no signal of this number comes after the test, so it may stay unblocked.
            unsafe pthread_sigmask(SIG_UNBLOCK, &wanted, nil)
            let target = pthread_self()
            Thread.detachNewThread { [self] in
                while going.load(ordering: .relaxed) {
                    pthread_kill(target, number)
                    usleep(100)
                }
                ended.signal()
            }
        }

        func stop() {
            going.store(false, ordering: .relaxed)
            ended.wait()
        }
    }

    @Test("trap: KVM answers EINTR to a signal in between; this room asks again")
    func retried() throws {
        let device = try KVMDevice()
        let pester = Pester()
        defer { pester.stop() }
        var interrupted = 0
        var made = 0
        // The bound is far beyond what is needed: one call in twenty is interrupted here.
        for _ in 0..<5_000 where interrupted < 5 {
            let number = irqmux_ioctl_value(device.number, irqmux_KVM_CREATE_VM, 0)
            if number == -EINTR { interrupted += 1 }
            if number >= 0 { _ = irqmux_close(number) }
        }
        #expect(interrupted == 5, "the signals do interrupt the call")
        for _ in 0..<200 {
            _ = try device.createVirtualMachine()
            made += 1
        }
        #expect(made == 200)
    }
}

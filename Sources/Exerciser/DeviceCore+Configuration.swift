internal import CKernel
internal import InterruptModel
internal import Synchronization

/// What a driver does through configuration space and through the MSI-X table.
extension DeviceCore {
    func readConfiguration(_ offset: Int, _ count: Int) -> UInt64 {
        state.withLock { state in
            state.configuration.showInterrupt(state.interrupts.isLineAsserted)
            let vectors = state.interrupts.info(.msi)?.count ?? 0
            let pending = (0..<vectors).reduce(0 as UInt32) {
                state.interrupts.isPending(Vector(.msi, $1)) ? $0 | 1 << $1 : $0
            }
            state.configuration.showPending(msi: pending)
            return state.configuration.read(offset, count)
        }
    }

    /// Writes, and does to the device what the bits say.
    ///
    /// - Returns: Whether the driver asked for a function level reset, which is the caller's to do.
    func writeConfiguration(_ offset: Int, _ count: Int, _ value: UInt64) -> Bool {
        state.withLock { state in
            let before = state.configuration.controls
            state.configuration.write(offset, count, value)
            follow(state.configuration.controls, before, &state)
            return state.configuration.asksForReset(offset, count, value)
        }
    }

    /// Sets or clears DisINTx, as a write of the command register does.
    func writeDisINTx(_ set: Bool) {
        state.withLock { state in
            typealias Header = ConfigurationSpace.Header
            let before = state.configuration.controls
            let command = set ? before.command | Header.interruptDisable : before.command & ~Header.interruptDisable
            state.configuration.write(Header.command, 2, UInt64(command))
            follow(state.configuration.controls, before, &state)
        }
    }

    /// Brings the interrupts in line with what configuration space says now.
    private func follow(
        _ now: ConfigurationSpace.Controls, _ before: ConfigurationSpace.Controls, _ state: inout State
    ) {
        typealias Header = ConfigurationSpace.Header
        let changed = now.command ^ before.command
        // Whoever is told of a pending bit is told under the lock, like of any raise.
        if changed & Header.busMaster != 0 {
            state.interrupts.setBusMaster(now.command & Header.busMaster != 0) { fire($0, $1) }
        }
        if now.isMSIXMasked != before.isMSIXMasked {
            state.interrupts.setMSIXMasked(now.isMSIXMasked) { fire($0, $1) }
        }
        for number in 0..<32 as Range<UInt32> where (now.msiMask ^ before.msiMask) >> number & 1 == 1 {
            let (vector, masked) = (Vector(.msi, number), now.msiMask >> number & 1 == 1)
            if let eventFD = state.interrupts.setMasked(vector, masked) { fire(vector, eventFD) }
        }
        if changed & Header.interruptDisable != 0 {
            let told = state.interrupts.writeDisINTx(now.command & Header.interruptDisable != 0)
            if let told { tellLine(told, &state) }
        }
    }

    /// A pending bit fires, which only a bus master's does; its raise was counted when it pended.
    private func fire(_ vector: Vector, _ eventFD: AssignedEventFD) {
        signal(vector, eventFD, irqmux_monotonic_ns(), isBusMaster: true)
    }

    /// Everything a driver wrote is forgotten, as a function level reset does. Error registers are sticky.
    func resetConfiguration(_ configuration: ExerciserConfiguration) {
        state.withLock { state in
            let before = state.configuration
            state.configuration = ConfigurationSpace(configuration)
            state.configuration.keepSticky(of: before)
            follow(state.configuration.controls, before.controls, &state)
            state.messages = MessageTable(vectors: configuration.msix)
            for number in 0..<configuration.msix {
                let vector = Vector(.msix, number)
                // An assignment stays, so its entry stays open.
                _ = state.interrupts.setMasked(vector, state.interrupts.eventFD(vector) == nil)
            }
        }
    }

    /// A word of BAR 4: table or pending bits.
    func readMessages(_ offset: UInt64) -> UInt32 {
        state.withLock { state in
            guard let place = state.messages.place(offset) else { return 0 }
            switch place {
            case .vectorControl(let number): return state.interrupts.isMasked(Vector(.msix, number)) ? 1 : 0
            case .pending(let first):
                return (0..<32 as Range<UInt32>).reduce(0) {
                    state.interrupts.isPending(Vector(.msix, first + $1)) ? $0 | 1 << $1 : $0
                }
            case .addressLow, .addressHigh, .data: return state.messages[place]
            }
        }
    }

    /// Writes a word of the MSI-X table; pending bits are the device's.
    func writeMessages(_ offset: UInt64, _ value: UInt32) {
        state.withLock { state in
            guard let place = state.messages.place(offset) else { return }
            state.messages[place] = value
            guard case .vectorControl(let number) = place else { return }
            let vector = Vector(.msix, number)
            if let eventFD = state.interrupts.setMasked(vector, value & 1 == 1) { fire(vector, eventFD) }
        }
    }
}

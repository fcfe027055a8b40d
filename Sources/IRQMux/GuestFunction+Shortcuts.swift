internal import InterruptModel
public import KVM

// Registers that the guest keeps writing the same way.
extension GuestFunction {
    /// The guest has a BAR at an address now, or nowhere.
    ///
    /// The VMM says so, because the place is its own: bridges have windows, host bridges translate, and the VMM moves
    /// what it traps at the same time. While the guest lets the device decode nothing (the command register, which
    /// the function sees) the BAR is nowhere by itself, and again where it was afterwards. Registers that were taken
    /// past the VMM are taken at the new place when this returns, and no longer at the old one; call it before anybody
    /// else is put there.
    ///
    /// - Parameters:
    ///   - region: A BAR, 0 to 5; others are ignored.
    ///   - place: The guest's address of the BAR's first byte, or its first port.
    /// - Throws: `ENOENT` when the device was detached. What KVM refuses at the new place is in `shortcutReport`, and
    ///   the register is a trap again.
    public mutating func mapped(
        region: UInt32, at place: DoorbellAddress.Place?, on mux: inout Mux
    ) throws(MuxError) {
        let attached = try mux.locate(device)
        shortcuts.place(region, at: place)
        mux.replace(shortcuts, of: attached)
    }

    /// What became of the registers that the guest keeps writing the same way.
    public var shortcutReport: RegisterShortcutReport { shortcuts.report }

    /// The guest wrote the command register: what it decodes no more is left before the device hears of it.
    mutating func leaveUndecoded(
        _ offset: UInt64, _ width: Int, _ value: UInt64, _ attached: AttachedDevice, on mux: inout Mux
    ) {
        guard let decoded = Self.decoded(offset, width, value) else { return }
        let before = shortcuts.decoded
        shortcuts.decoded = before & decoded
        if shortcuts.decoded != before { mux.replace(shortcuts, of: attached) }
    }

    /// And what it decodes from now on is taken again after the device has heard.
    mutating func takeDecoded(
        _ offset: UInt64, _ width: Int, _ value: UInt64, _ attached: AttachedDevice, on mux: inout Mux
    ) {
        guard let decoded = Self.decoded(offset, width, value), shortcuts.decoded != decoded else { return }
        shortcuts.decoded = decoded
        mux.replace(shortcuts, of: attached)
    }

    /// The lowest bits of the command register, where a write reaches them.
    private static func decoded(_ offset: UInt64, _ width: Int, _ value: UInt64) -> UInt64? {
        guard offset <= 4, offset + UInt64(width) > 4 else { return nil }
        return value >> ((4 - offset) * 8) & 3
    }

    /// A register was written often enough.
    ///
    /// - Returns: The register, where it is the owner's to install.
    mutating func shorten(_ register: DoorbellRegister, on mux: inout Mux) -> DoorbellRegister? {
        guard shortcuts.options.installs else { return register }
        // Nowhere, or of no machine: it is counted anew, as both may be told yet.
        guard shortcuts.address(of: register) != nil, mux.hasMachine(shortcuts) else {
            traps.repeated.withdraw(register)
            return nil
        }
        var isInstalled = true
        do throws(MuxError) { try mux.install(register, shortcuts, of: device) } catch {
            isInstalled = false
            shortcuts.refuse(error)
        }
        traps.repeated.answer(register, installed: isInstalled)
        return nil
    }

    /// Registers that became traps again by themselves.
    mutating func learnEnded() {
        for (register, isRefused) in shortcuts.ended {
            guard isRefused else {
                traps.repeated.withdraw(register)
                continue
            }
            traps.repeated.answer(register, installed: false)
        }
        shortcuts.ended.removeAll()
    }

    /// A reset: all of them are forgotten, and counting begins anew.
    mutating func forgetShortcuts(on mux: inout Mux) throws(MuxError) {
        mux.endShortcuts(try mux.locate(device))
        shortcuts.ended.removeAll()
        shortcuts.decoded = 3
        traps.repeated.forget { _ in }
    }
}

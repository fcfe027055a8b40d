// swift-tools-version: 6.2
import PackageDescription

// The Embedded build: the same rooms, compiled without the Swift runtime, for the archive a VMM links.
// SwiftPM cannot mix Embedded and ordinary Swift in one graph, so executables and tests are left out of it.
let embedded = Context.environment["IRQMUX_EMBEDDED"] != nil
// Warnings fail our own builds (the Makefile sets this), never those of a project that depends on irqmux.
let warningsFail = Context.environment["IRQMUX_WERROR"] != nil

var settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]
if embedded { settings += [.enableExperimentalFeature("Embedded")] }
if warningsFail { settings += [.treatAllWarnings(as: .error)] }

/// The rooms that also build in Embedded Swift (docs/architecture.md: "Embedded-clean").
let embeddedCleanRooms: [Target] = [
    .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .target(name: "CKernel"),
    .target(name: "EventRing", dependencies: ["CKernel", "CLiburing"], swiftSettings: settings),
    .target(name: "InterruptModel", dependencies: ["CKernel"], swiftSettings: settings),
    .target(name: "KVM", dependencies: ["CKernel", "EventRing"], swiftSettings: settings),
    .target(name: "VFIO", dependencies: ["CKernel", "InterruptModel"], swiftSettings: settings),
    .target(name: "IRQMux", dependencies: ["EventRing", "InterruptModel", "KVM", "CKernel"], swiftSettings: settings),
    // The C library: its header, written by hand, and what the header declares.
    .target(name: "CIRQMuxHeader"),
    .target(
        name: "CIRQMux",
        dependencies: ["CIRQMuxHeader", "IRQMux", "VFIO", "EventRing", "InterruptModel", "KVM", "CKernel"]
            + (embedded ? [] : ["VFIOUser"]),
        swiftSettings: settings),
]

let package = Package(
    name: "irqmux",
    products: [
        .library(name: "IRQMux", targets: ["IRQMux", "EventRing", "InterruptModel", "KVM", "VFIO"]),
        .library(name: "CIRQMux", targets: ["CIRQMux"]),
    ],
    targets: embeddedCleanRooms,
    swiftLanguageModes: [.v6]
)

if embedded {
    package.products = [
        .library(
            name: "IRQMuxEmbedded", type: .static, targets: ["IRQMux", "EventRing", "InterruptModel", "KVM", "VFIO"])
    ]
    // What Tests/embedded/main.c calls; Scripts/embedded.sh links the two with the rooms' archive.
    package.targets.append(
        .target(
            name: "EmbeddedProbe",
            dependencies: ["EventRing", "InterruptModel", "IRQMux"],
            path: "Tests/embedded/EmbeddedProbe",
            swiftSettings: settings
        ))
} else {
    package.products += [
        .library(name: "Exerciser", targets: ["Exerciser"]),
        // A small real guest, for examples, benchmarks, and tests of VMMs.
        .library(name: "MicroGuest", targets: ["MicroGuest"]),
        // Client and server of vfio-user, and the framework of devices in user space.
        .library(name: "VFIOUser", targets: ["VFIOUser"]),
        // The Exerciser as a device of that framework, for a VMM's tests that want it in their own process.
        .library(name: "ServedExerciser", targets: ["ServedExerciser"]),
        .executable(name: "irqmux", targets: ["irqmux"]),
    ]
    package.dependencies += [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
    ]
    package.targets += [
        .target(name: "Exerciser", dependencies: ["CKernel", "EventRing", "InterruptModel"], swiftSettings: settings),
        .target(name: "HostDevices", dependencies: ["CKernel", "InterruptModel", "VFIO"], swiftSettings: settings),
        .target(name: "VFIOUser", dependencies: ["CKernel", "EventRing", "InterruptModel"], swiftSettings: settings),
        .target(
            name: "ServedExerciser", dependencies: ["Exerciser", "VFIOUser", "InterruptModel"],
            swiftSettings: settings),
        .target(name: "MicroGuest", dependencies: ["CKernel", "EventRing", "KVM"], swiftSettings: settings),
        .executableTarget(
            name: "irqmux",
            dependencies: [
                "IRQMux", "Exerciser", "VFIOUser", "ServedExerciser", "MicroGuest", "HostDevices", "EventRing",
                "InterruptModel", "KVM", "VFIO", "CKernel",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings
        ),
        // Counts the allocations of a thread: it stands in for malloc in the test executable, and nowhere else.
        .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
        .target(
            name: "TestSupport",
            dependencies: ["EventRing", "KVM", "MicroGuest", "CKernel", "CAllocationCounter"],
            path: "Tests/TestSupport",
            swiftSettings: settings
        ),
    ]
    package.targets.append(
        .executableTarget(
            name: "irqmux-soak",
            dependencies: ["IRQMux", "Exerciser", "MicroGuest", "KVM", "EventRing", "InterruptModel", "CKernel"],
            path: "Tests/soak", swiftSettings: settings))
    // Drives the Exerciser inside the machine that another implementation plugged it into (Scripts/test-interop.sh).
    package.targets.append(
        .executableTarget(
            name: "irqmux-interop", dependencies: ["VFIO", "InterruptModel", "EventRing", "CKernel"],
            path: "Tests/interop", exclude: ["suite"], swiftSettings: settings))
    // Runs inside the emulated machine: the kernel's SET_IRQS against the model's (Scripts/test-vm.sh).
    package.targets.append(
        .executableTarget(
            name: "irqmux-differential", dependencies: ["VFIO", "InterruptModel", "CKernel"],
            path: "Tests/differential", swiftSettings: settings))
    // Guest, device, host and a reference under one seed; pure, so a run is a function of its seed.
    package.targets += [
        .target(
            name: "Simulator", dependencies: ["IRQMux", "InterruptModel"], path: "Tests/Simulator",
            swiftSettings: settings),
        .executableTarget(
            name: "irqmux-sim", dependencies: ["Simulator"], path: "Tests/sim", swiftSettings: settings),
    ]
    func tests(_ name: String, _ rooms: [Target.Dependency]) -> Target {
        .testTarget(name: name, dependencies: rooms + ["TestSupport", "CKernel"], swiftSettings: settings)
    }
    package.targets += [
        tests("EventRingTests", ["EventRing", "CLiburing"]),
        tests("InterruptModelTests", ["InterruptModel", "Simulator"]),
        tests("ExerciserTests", ["Exerciser", "InterruptModel", "EventRing"]),
        // A device in a process of its own, for the tests of the client.
        .executableTarget(
            name: "vfio-user-peer", dependencies: ["VFIOUser", "InterruptModel", "EventRing", "CKernel"],
            path: "Tests/vfio-user-peer", swiftSettings: settings),
        tests(
            "VFIOUserTests",
            [
                "vfio-user-peer", "VFIOUser", "ServedExerciser", "Exerciser", "InterruptModel", "EventRing", "IRQMux",
                "KVM", "MicroGuest",
            ]),
        tests("VFIOTests", ["VFIO", "InterruptModel", "EventRing"]),
        tests("HostDevicesTests", ["HostDevices", "VFIO", "InterruptModel"]),
        tests("KVMTests", ["KVM", "MicroGuest", "EventRing"]),
        tests(
            "IRQMuxTests", ["irqmux-soak", "IRQMux", "Exerciser", "MicroGuest", "EventRing", "InterruptModel", "KVM"]),
        tests("CommandTests", ["irqmux", "HostDevices", "VFIOUser", "EventRing", "InterruptModel", "VFIO"]),
        // Inside the emulated machine only: Scripts/test-vm.sh.
        tests("MachineTests", ["HostDevices", "VFIO", "IRQMux", "MicroGuest", "EventRing", "InterruptModel", "KVM"]),
        tests("HouseTests", []),
    ]
    // libFuzzer brings its own main function, so this builds with --sanitize fuzzer only: Scripts/fuzz.sh.
    if Context.environment["IRQMUX_FUZZ"] != nil {
        package.targets.append(
            .executableTarget(
                name: "irqmux-fuzz",
                dependencies: ["VFIOUser", "ServedExerciser", "Exerciser", "InterruptModel", "EventRing", "CKernel"],
                path: "Tests/fuzz/irqmux-fuzz", swiftSettings: settings))
    }
}

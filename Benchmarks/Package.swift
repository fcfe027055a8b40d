// swift-tools-version: 6.2
import PackageDescription

// The benchmarks are a package of their own, so that irqmux itself never depends on the libraries it is compared with.
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "irqmux-benchmarks",
    products: [.executable(name: "irqmux-bench", targets: ["irqmux-bench"])],
    dependencies: [
        .package(name: "irqmux", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    ],
    targets: [
        // A peer whose library is missing is left out at run time; SwiftPM warns about it and goes on.
        .systemLibrary(name: "CLibUV", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(name: "CLibEvent", pkgConfig: "libevent", providers: [.apt(["libevent-dev"])]),
        .target(
            name: "CEngines",
            // The C library, for the engine that is a VMM in C.
            dependencies: ["CLibUV", "CLibEvent", .product(name: "CIRQMux", package: "irqmux")],
            linkerSettings: [.linkedLibrary("uring"), .linkedLibrary("pthread")]
        ),
        .executableTarget(
            name: "irqmux-bench",
            dependencies: [
                "CEngines",
                .product(name: "IRQMux", package: "irqmux"),
                .product(name: "CIRQMux", package: "irqmux"),
                .product(name: "Exerciser", package: "irqmux"),
                .product(name: "MicroGuest", package: "irqmux"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings
        ),
        .target(name: "CVFIOUserPeer", linkerSettings: [.linkedLibrary("pthread")]),
        .executableTarget(
            name: "vfio-user-bench",
            dependencies: [
                "CVFIOUserPeer",
                .product(name: "IRQMux", package: "irqmux"),
                .product(name: "VFIOUser", package: "irqmux"),
            ],
            swiftSettings: settings
        ),
    ],
    swiftLanguageModes: [.v6]
)

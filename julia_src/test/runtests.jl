# julia --project=... runtests.jl [NAME ...]: all files test_NAME.jl below this folder, which mirrors src, or those named.

using DiffGeo, Random, Test

function found(names)
    files = [
        joinpath(folder, f) for (folder, _, inside) in walkdir(@__DIR__) for
        f in inside if startswith(f, "test_") && endswith(f, ".jl")
    ]
    return sort(isempty(names) ? files : filter(f -> basename(f)[6:(end-3)] in names, files))
end

@testset "DiffGeo" begin
    for file in found(ARGS)
        name = basename(file)[6:(end-3)]
        @testset "$name" begin
            # in a module of its own: files share the cases, and nothing that another defines
            own = Module(Symbol("test_", name))
            Core.eval(own, :(using DiffGeo, Random, Test))
            Base.include(own, joinpath(@__DIR__, "cases.jl"))
            Base.include(own, file)
        end
    end
end

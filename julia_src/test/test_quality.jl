using Aqua, Pkg

# looking for tasks that never end installs the package, which needs a registry
Aqua.test_all(DiffGeo; persistent_tasks=(!isempty(Pkg.Registry.reachable_registries())))

# Where it is installed; nothing else needs it
jet = Base.find_package("JET") === nothing ? nothing : Base.require(Main, :JET)
jet === nothing || jet.test_package(DiffGeo; target_modules=(DiffGeo,))

# a variable that a closure captures and that is assigned again lies in a box, of unknown type: what it touches is slow and allocates
boxed = String[]
for name in Base.names(DiffGeo; all=true)
    f = isdefined(DiffGeo, name) ? getfield(DiffGeo, name) : nothing
    f isa Function || continue
    for m in Base.methods(f)
        # what generates functions runs once
        (m.module === DiffGeo && m.file !== :none) || continue
        isdefined(m, :source) && occursin("Core.Box", string(Base.uncompressed_ast(m).code)) && push!(boxed, string(m))
    end
end
@test isempty(boxed)

# What a user calls first is compiled when the package is installed.

@setup_workload begin
    description(top, bottom, roots) = """
        kind = "richards"
        faces = [0.0, 2.0, 5.0, 10.0, 20.0]
        layers = [0.0]
        top = "$top"
        bottom = "$bottom"
        face_mean = "arithmetic"
        $roots
        hydraulics = { name = "van_genuchten", entry_width = 0.5 }
        """
    values = Dict(:theta_r => 0.078, :theta_s => 0.43, :alpha => 0.036, :n => 1.56, :K_s => 1.04, :pore_connectivity => 0.5, :specific_storage => 1e-6,
        :ponding_height => 0.0, :minimum_surface_head => -15000.0, :root_depth => 15.0, :feddes_1 => -10.0, :feddes_2 => -25.0,
        :feddes_3 => -500.0, :feddes_4 => -15000.0, :rain => 0.1, :potential_evaporation => 0.02,
        :potential_transpiration => 0.02, :top_head => -75.0, :bottom_head => -100.0, :top_flux => 0.1, :bottom_flux => 0.0)
    @compile_workload begin
        entry_points_text()
        for (top, bottom, roots) in (("atmospheric", "free_drainage", "roots = { profile = \"exponential\", density = [], demand_dependent = false, compensated = false }"), ("head", "head", ""))
            file = TOML.parse(description(top, bottom, roots))
            m = BUILDERS["richards"](file)
            s = spec(m)
            file["spec"] = Dict{String,Any}("digest" => s.digest, "states" => ["psi"], "parameters" => String.(s.parameters), "forcings" => String.(s.forcings),
                "fluxes" => String.(s.fluxes))
            rehearse(open_model(file), Float64, values)
        end
    end
    empty!(WORK_POOLS)
    empty!(TAPE_POOL)
    empty!(RUNS)
    empty!(SPEC_FILES)
    POOL_BYTES[] = 0
    LAST_NUMBER[] = 0
end

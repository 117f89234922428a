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
    values = Dict(:theta_r => 0.078, :theta_s => 0.43, :alpha => 0.036, :n => 1.56, :K_s => 1.04, :pore_connectivity => 0.5,
        :specific_storage => 1e-6,
        :ponding_height => 0.0, :minimum_surface_head => -15000.0, :root_depth => 15.0, :feddes_1 => -10.0,
        :feddes_2 => -25.0,
        :feddes_3 => -500.0, :feddes_4 => -15000.0, :rain => 0.1, :potential_evaporation => 0.02,
        :potential_transpiration => 0.02, :top_head => -75.0, :bottom_head => -100.0, :top_flux => 0.1, :bottom_flux => 0.0)
    leaf = """
        kind = "photosynthesis"
        pathway = "c3"
        stomata = "medlyn"
        mesophyll = false
        energy_balance = false
        co2_at = "air"
        humidity_at = "air"
        kinetics = "partial_pressure"
        ratios = true
        product_limit = false
        c3 = [0.999, 0.999]
        c4 = [0.999, 0.999]
        """
    leaf_values =
        Dict(:par => 1000.0, :leaf_temperature => 25.0, :vapour_pressure_deficit => 1.0, :co2 => 400.0, :pressure => 101325.0,
            :boundary_layer_conductance => 2.0, :soil_water_stress => 1.0,
            (Symbol(k) => Float64(x["default"]) for (k, x) in first(read_spec("photosynthesis"))["parameters"])...)
    named!(file, s) = (
        file["spec"]=Dict{String,Any}("digest" => s.digest, "states" => [String(x.name) for x in s.states],
            "parameters" => String.(s.parameters),
            "forcings" => String.(s.forcings), "fluxes" => String.(s.fluxes)); file)
    @compile_workload begin
        entry_points_text()
        for (top, bottom, roots) in (
            (
                "atmospheric",
                "free_drainage",
                "roots = { profile = \"exponential\", density = [], demand_dependent = false, compensated = false }"
            ),
            ("head", "head", "")
        )
            file = TOML.parse(description(top, bottom, roots))
            m = BUILDERS["richards"](file)
            rehearse(open_model(named!(file, spec(m))), Float64, values)
        end
        file = TOML.parse(leaf)
        rehearse(open_model(named!(file, spec(photosynthesis()))), Float64, leaf_values; method="implicit_euler", initial=300.0)
    end
    empty!(WORK_POOLS)
    empty!(BRANCHLESS)
    empty!(FITTING)
    empty!(TAPE_POOL)
    empty!(RUNS)
    empty!(SPEC_FILES)
    POOL_BYTES[] = 0
    LAST_NUMBER[] = 0
end

# Makes the reference values of predictions after coxph with R's survival package.
#   Rscript tests/reference/make_predict.R      (Debian packages r-base-core, r-cran-survival)
# Reads predict_models.csv and data/*.csv, writes predict_values.csv.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
control <- coxph.control(eps = 1e-14, toler.chol = 1e-13, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
read_data <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))
thin <- function(n, most = 8) unique(round(seq(1, n, length.out = min(n, most))))

fit_model <- function(spec, d) {
  d$.offset <- if (spec$offset == "") 0 else d[[spec$offset]]
  text <- if (spec$offset == "") spec$formula else paste(spec$formula, "+ offset(.offset)")
  arguments <- list(as.formula(text), data = d, ties = spec$ties, control = control)
  if (spec$weights != "") arguments$weights <- d[[spec$weights]]
  if (spec$cluster != "") arguments$cluster <- d[[spec$cluster]] else arguments$robust <- FALSE
  do.call(coxph, arguments)
}
read_scenarios <- function(text) {
  rows <- lapply(strsplit(text, "|", fixed = TRUE)[[1]], function(row) {
    pairs <- strsplit(strsplit(row, ";")[[1]], "=")
    as.data.frame(as.list(setNames(as.numeric(sapply(pairs, `[`, 2)), sapply(pairs, `[`, 1))))
  })
  do.call(rbind, rows)
}
# One curve (a single scenario, strata in turn): values at some of its event times.
add_curve <- function(model, scenario, sf, quantity = "", limits = list()) {
  strata <- if (is.null(sf$strata)) rep("", length(sf$time)) else rep(sub(".*=", "", names(sf$strata)), sf$strata)
  for (stratum in unique(strata)) {
    rows <- which(strata == stratum & sf$n.event > 0)
    rows <- rows[thin(length(rows))]
    for (i in rows) {
      term <- paste(scenario, stratum, sep = "/")
      time <- sprintf("%.17g", sf$time[i])
      for (name in c("surv", "cumhaz", "std.err", "n.risk", "n.event"))
        add(model, paste0(quantity, name), term, time, sf[[name]][i])
      for (type in names(limits)) {
        add(model, paste0("lower_", type), term, time, limits[[type]]$lower[i])
        add(model, paste0("upper_", type), term, time, limits[[type]]$upper[i])
      }
    }
  }
}

models <- read.csv(file.path(folder, "predict_models.csv"), colClasses = "character")
fits <- list()
for (k in seq_len(nrow(models))) {
  spec <- models[k, ]
  d <- read_data(spec$data)
  fit <- fits[[spec$model]] <- fit_model(spec, d)
  model <- spec$model
  d$.offset <- if (spec$offset == "") 0 else d[[spec$offset]]
  new <- read_scenarios(spec$scenarios)
  new$.offset <- if (spec$offset == "") 0 else c(0.3, -0.1)
  for (term in names(coef(fit))) add(model, "means", term, "", fit$means[term])

  # Baseline: at R's means, and with covariates 0 (offset at its mean).
  for (centered in c(TRUE, FALSE)) {
    b <- suppressWarnings(basehaz(fit, centered = centered))
    strata <- if (is.null(b$strata)) rep("", nrow(b)) else sub(".*=", "", as.character(b$strata))
    for (stratum in unique(strata)) {
      rows <- which(strata == stratum)
      for (i in rows[thin(length(rows))])
        add(model, if (centered) "basehaz_r" else "basehaz_zero", stratum, sprintf("%.17g", b$time[i]), b$hazard[i])
    }
  }
  at_means <- suppressWarnings(survfit(fit))
  add_curve(model, "r", at_means, "baseline_")

  for (i in seq_len(nrow(new))) {
    curves <- lapply(c(log = "log", `log-log` = "log-log", plain = "plain"),
                     function(type) survfit(fit, newdata = new[i, ], conf.type = type))
    add_curve(model, i - 1, curves$log, limits = curves)
    # The other estimate of the hazard at the same coefficients.
    other <- survfit(fit, newdata = new[i, ], ctype = if (spec$ties == "efron") 1 else 2)
    add_curve(model, i - 1, other, "other_")
    stratified <- !is.null(curves$log$strata)
    for (type in names(curves)) {
      q <- quantile(curves[[type]], c(0.25, 0.5, 0.75))
      q <- lapply(q, function(m) matrix(m, ncol = 3))
      labels <- if (stratified) sub(".*=", "", names(curves$log$strata)) else ""
      for (s in seq_along(labels)) for (j in 1:3) for (name in names(q))
        add(model, paste0("q_", name, "_", type), paste(i - 1, labels[s], sep = "/"), c(0.25, 0.5, 0.75)[j], q[[name]][s, j])
      for (s in seq_along(labels)) {
        printed <- survival:::survmean(if (stratified) curves[[type]][s] else curves[[type]], rmean = "none")$matrix
        for (name in c("median", "0.95LCL", "0.95UCL"))
          add(model, paste0("printed_", type), paste(i - 1, labels[s], sep = "/"), name, printed[name])
      }
    }
    # Between event times, standard error of survival itself; and the restricted mean.
    for (s in if (stratified) names(curves$log$strata) else "") {
      one <- if (stratified) curves$log[s] else curves$log
      term <- paste(i - 1, sub(".*=", "", s), sep = "/")
      last <- max(one$time)
      times <- c(0.11, 0.37, 0.83) * last
      at <- summary(one, times = times)
      for (j in seq_along(at$time)) {
        add(model, "at_surv", term, sprintf("%.17g", times[j]), at$surv[j])
        add(model, "at_std.err", term, sprintf("%.17g", times[j]), at$std.err[j])
      }
      tau <- 0.6 * last
      add(model, "rmean", term, sprintf("%.17g", tau), survival:::survmean(one, rmean = tau)$matrix["rmean"])
    }
    # No event falls on this time: R counts an event at start.time itself, which (start, stop] does not.
    begin <- floor(median(at_means$time)) + 0.25
    later <- survfit(fit, newdata = new[i, ], start.time = begin)
    if (i == 1) add(model, "start", "", "", begin)
    if (!stratified) add_curve(model, i - 1, later, "later_")
  }

  # predict.coxph for rows of the data.
  rows <- thin(nrow(d), 9)
  for (reference in c("zero", "sample", "strata")) for (type in c("lp", "risk")) {
    p <- predict(fit, type = type, reference = reference, se.fit = TRUE)
    for (i in rows) {
      add(model, paste(type, reference, sep = "_"), i - 1, "", p$fit[i])
      add(model, paste(type, reference, "se", sep = "_"), i - 1, "", p$se.fit[i])
    }
  }
  for (type in c("expected", "survival")) {
    # As new rows, and as the model's own: those are events less martingale residuals.
    p <- predict(fit, newdata = d, type = type)
    for (i in rows) add(model, type, i - 1, "", p[i])
    p <- suppressWarnings(predict(fit, type = type, se.fit = TRUE))
    for (i in rows) {
      add(model, paste0(type, "_own"), i - 1, "", p$fit[i])
      add(model, paste0(type, "_se"), i - 1, "", p$se.fit[i])
    }
  }
  if (spec$offset == "") {
    p <- predict(fit, newdata = cbind(new, d[1:2, setdiff(names(d), names(new))]), type = "lp", reference = "zero", se.fit = TRUE)
    for (i in 1:2) {
      add(model, "new_lp", i - 1, "", p$fit[i])
      add(model, "new_lp_se", i - 1, "", p$se.fit[i])
    }
  }

  # Margins: mean relative hazard with one covariate set, by model.matrix on the changed data.
  b <- coef(fit)
  w <- if (spec$weights == "") rep(1, nrow(d)) else d[[spec$weights]]
  w <- w / sum(w)
  for (variable in intersect(names(new), names(coef(fit)))) for (value in unique(new[[variable]])) {
    changed <- d
    changed[[variable]] <- value
    x <- model.matrix(fit, data = model.frame(terms(fit), changed))
    r <- w * exp(drop(x %*% b) + changed$.offset)
    g <- colSums(r * x)
    add(model, "margin", variable, sprintf("%.17g", value), sum(r))
    add(model, "margin_se", variable, sprintf("%.17g", value), sqrt(drop(g %*% fit$var %*% g)))
  }
}

# Along a path: covariates change at `cut`. R's standard error uses the covariates of the moment for the whole
# past; the right one is found by a fit in which the path is the zero of the covariates.
path_of <- function(model, names_time, path, zero) {
  fit <- fits[[model]]
  spec <- models[models$model == model, ]
  d <- read_data(spec$data)
  path[[names_time[3]]] <- 0
  sf <- survfit(fit, newdata = path, id = id)
  add_curve(model, "path", sf, "path_r_")
  cuts <- path[[names_time[2]]]
  formula <- as.formula(paste0("Surv(", paste(names_time, collapse = ", "), ") ~ ."))
  split <- survSplit(formula, data = d, cut = cuts[-length(cuts)], episode = ".piece")
  for (term in zero) split[[term]] <- split[[term]] - path[[term]][split$.piece]
  again <- fit_model(spec, split)
  stopifnot(max(abs(coef(again) - coef(fit))) < 1e-8)
  at_zero <- path[1, ]
  at_zero[zero] <- 0
  sz <- survfit(again, newdata = at_zero)
  keep <- sz$time <= max(cuts)
  for (name in c("time", "n.risk", "n.event", "n.censor", "surv", "cumhaz", "std.err")) sz[[name]] <- sz[[name]][keep]
  add_curve(model, "path", sz, "path_")
}
bili <- data.frame(id = 1, tstart = c(0, 365, 1500, 2600), tstop = c(365, 1500, 2600, 4000),
                   logbili = c(0.5, 1.2, 2.0, 2.8), protime = c(10.5, 11, 12, 13.5), age = 55, edema = c(0, 0, 0.5, 1))
for (model in c("pbcseq_breslow", "pbcseq_efron"))
  path_of(model, c("tstart", "tstop", "death"), bili, c("logbili", "protime", "age", "edema"))
tx <- data.frame(id = 1, start = c(0, 60), stop = c(60, 900), age = 0, year = 3, surgery = 0, transplant = c(0, 1))
for (model in c("heart_breslow", "heart_efron"))
  path_of(model, c("start", "stop", "event"), tx, c("age", "year", "surgery", "transplant"))

# A null model: Nelson-Aalen.
d <- read_data("lung")
for (ties in c("breslow", "efron")) {
  sf <- survfit(coxph(Surv(time, event) ~ 1, data = d, ties = ties))
  add_curve(paste0("null_", ties), 0, sf)
}

# An effect that changes with log(time): at t0 it is the coefficient of a fit with log(t) - log(t0).
d <- read_data("veteran")
grow <- function(t0, ties) coxph(Surv(time, status) ~ trt + karno + tt(karno), data = d, ties = ties, control = control,
                                 tt = function(x, t, ...) x * (log(t) - log(t0)))
for (ties in c("breslow", "efron")) for (t0 in c(1, 30, 100, 400)) {
  fit <- grow(t0, ties)
  add(paste0("changing_", ties), "log_hr", "karno", t0, coef(fit)["karno"])
  add(paste0("changing_", ties), "log_hr_se", "karno", t0, sqrt(fit$var[2, 2]))
}
# The curve that goes with it: one interval an event time. Errors as for paths above.
times <- sort(unique(d$time[d$status == 1]))
split <- survSplit(Surv(time, status) ~ ., d, cut = times[-length(times)], episode = ".piece")
split$growing <- split$karno * log(split$time)
path <- data.frame(id = 1, tstart = c(0, times[-length(times)]), time = times, status = 0, trt = 1, karno = 60,
                   growing = 60 * log(times))
for (ties in c("breslow", "efron")) {
  formula <- Surv(tstart, time, status) ~ trt + karno + growing
  fit <- coxph(formula, data = split, ties = ties, control = control)
  add_curve(paste0("changing_", ties), "path", survfit(fit, newdata = path, id = id), "path_r_")
  moved <- split
  for (term in c("trt", "karno", "growing")) moved[[term]] <- moved[[term]] - path[[term]][moved$.piece]
  again <- coxph(formula, data = moved, ties = ties, control = control)
  add_curve(paste0("changing_", ties), "path", survfit(again, newdata = data.frame(trt = 0, karno = 0, growing = 0)), "path_")
}

# Exact ties: Breslow's hazard at the exact coefficients.
d <- read_data("veteran")
fit <- coxph(Surv(time, status) ~ trt + karno + age, data = d, ties = "exact", control = control)
add_curve("exact", 0, survfit(fit, newdata = data.frame(trt = 1, karno = 60, age = 60)))

write.csv(do.call(rbind, out), file.path(folder, "predict_values.csv"), row.names = FALSE, quote = FALSE)

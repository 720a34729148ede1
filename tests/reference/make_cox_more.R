# Makes the reference values of exact ties, time interactions, ridge and tests with R's survival package.
#   Rscript tests/reference/make_cox_more.R      (Debian packages r-base-core, r-cran-survival)
# Run make_reference.R first: it writes most of data/. Writes data/infert.csv, data/lung_month.csv,
# cox_more_values.csv and cox_more_versions.txt.
library(survival)
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
read <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))
save_data <- function(d, name)
  write.csv(format(d, digits = 17, trim = TRUE), file.path(folder, "data", paste0(name, ".csv")),
            row.names = FALSE, quote = FALSE)
save_data(data.frame(time = 1, case = infert$case, spontaneous = infert$spontaneous, induced = infert$induced,
                     age = infert$age, stratum = infert$stratum, education = as.integer(infert$education)), "infert")
lung <- read("lung")
# Months make many tied events.
save_data(data.frame(month = ceiling(lung$time / 30.4), lung[, c("event", "age", "sex", "ph_ecog", "inst", "case", "shift")]),
          "lung_month")

control <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
add_fit <- function(model, fit, terms, robust = FALSE) {
  naive <- if (robust) fit$naive.var else fit$var
  for (a in seq_along(terms)) {
    add(model, "coef", terms[a], "", coef(fit)[a])
    for (b in seq_along(terms)) {
      add(model, "vcov_model", terms[a], terms[b], naive[a, b])
      if (robust) add(model, "vcov", terms[a], terms[b], fit$var[a, b])
    }
  }
  add(model, "loglik_null", "", "", fit$loglik[1])
  add(model, "loglik", "", "", fit$loglik[2])
}

# Exact ties
exact <- function(model, formula, data) {
  fit <- coxph(formula, data, ties = "exact", control = control)
  add_fit(model, fit, names(coef(fit)))
}
inf <- read("infert"); vet <- read("veteran"); mon <- read("lung_month"); hea <- read("heart")
exact("infert_clogit", Surv(time, case) ~ spontaneous + induced + strata(stratum), inf)
exact("infert_education", Surv(time, case) ~ spontaneous + induced + strata(education), inf)
exact("veteran_exact", Surv(time, status) ~ trt + karno + diagtime + age, vet)
exact("veteran_exact_strata", Surv(time, status) ~ trt + karno + age + strata(cell), vet)
exact("lung_month_exact", Surv(month, event) ~ age + sex + ph_ecog, mon)
exact("lung_month_offset", Surv(month, event) ~ age + sex + offset(shift), mon)
exact("heart_exact", Surv(start, stop, event) ~ age + year + surgery + transplant, hea)
# R lists all subsets of each tied start-stop risk set: few ties only.
exact("cgd_exact", Surv(tstart, tstop, status) ~ treat + age + steroids + inherit, read("cgd"))

# Time interactions
pbc <- read("pbcseq"); lun <- read("lung")
by_log <- function(x, t, ...) x * log(t)
by_sqrt <- function(x, t, ...) x * sqrt(t)
by_time <- function(x, t, ...) x * t
late <- function(x, t, ...) x * (t > 90)
timed <- function(model, formula, data, ties, tt, terms, ...) {
  fit <- do.call(coxph, list(formula, data = data, ties = ties, tt = tt, control = control, ...))
  add_fit(model, fit, terms, !is.null(fit$naive.var))
}
for (ties in c("breslow", "efron")) {
  name <- function(text) paste(text, ties, sep = "_")
  timed(name("veteran_tt_log"), Surv(time, status) ~ trt + karno + tt(karno), vet, ties, by_log,
        c("trt", "karno", "tt(karno, log)"))
  timed(name("veteran_tt_strata"), Surv(time, status) ~ trt + karno + strata(cell) + tt(karno), vet, ties, by_time,
        c("trt", "karno", "tt(karno, identity)"))
  timed(name("veteran_tt_two"), Surv(time, status) ~ trt + karno + tt(trt) + tt(karno), vet, ties, list(late, by_sqrt),
        c("trt", "karno", "tt(trt, late)", "tt(karno, sqrt)"))
  timed(name("pbcseq_tt"), Surv(tstart, tstop, death) ~ logbili + protime + age + edema + tt(logbili), pbc, ties, by_log,
        c("logbili", "protime", "age", "edema", "tt(logbili, log)"), cluster = pbc$id)
  timed(name("lung_tt_weighted"), Surv(time, event) ~ age + sex + tt(age), lun, ties, by_sqrt,
        c("age", "sex", "tt(age, sqrt)"), weights = lun$case)
}
# The same model on data split by hand at every event time.
split <- survSplit(Surv(time, status) ~ ., vet, cut = sort(unique(vet$time[vet$status == 1])), id = "row")
split$timed <- split$karno * log(split$time)
fit <- coxph(Surv(tstart, time, status) ~ trt + karno + timed, split, ties = "efron", cluster = split$row, control = control)
add_fit("veteran_split", fit, c("trt", "karno", "tt(karno, log)"), TRUE)

# Ridge
for (theta in c(1, 20)) for (scale in c(FALSE, TRUE)) {
  label <- function(text) paste(text, theta, if (scale) "scaled" else "raw", sep = "_")
  fit <- coxph(Surv(time, event) ~ ridge(age, sex, ph_ecog, theta = theta, scale = scale), lun, control = control)
  add_fit(label("lung_ridge"), fit, c("age", "sex", "ph_ecog"))
  fit <- coxph(Surv(start, stop, event) ~ ridge(age, year, surgery, transplant, theta = theta, scale = scale), hea,
               ties = "breslow", control = control)
  add_fit(label("heart_ridge"), fit, c("age", "year", "surgery", "transplant"))
}

# Global and nested tests
models <- read.csv(file.path(folder, "cox_models.csv"), colClasses = "character")
for (i in seq_len(nrow(models))) {
  spec <- models[i, ]
  if (spec$weights != "" || spec$offset != "") next
  d <- read(spec$data)
  arguments <- list(as.formula(spec$formula), data = d, ties = spec$ties, control = control)
  if (spec$cluster != "") arguments$cluster <- d[[spec$cluster]] else arguments$robust <- FALSE
  fit <- do.call(coxph, arguments)
  add(spec$model, "likelihood ratio", "", "", 2 * diff(fit$loglik))
  add(spec$model, "score", "", "", fit$score)
  add(spec$model, if (spec$cluster == "") "wald" else "robust wald", "", "", fit$wald.test)
  if (spec$cluster != "") add(spec$model, "robust score", "", "", fit$rscore)
}
add_nested <- function(model, full, small, start) {
  add(model, "likelihood ratio", "", "", 2 * (full$loglik[2] - small$loglik[2]))
  # The score test at the restricted estimate: a fit that starts there and is not iterated.
  held <- coxph(formula(full), eval(full$call$data), ties = full$method, init = start,
                control = coxph.control(iter.max = 0, eps = 1e-14))
  add(model, "score", "", "", held$score)
}
full <- coxph(Surv(time, event) ~ age + sex + ph_ecog, lun, ties = "efron", control = control)
small <- coxph(Surv(time, event) ~ ph_ecog, lun, ties = "efron", control = control)
add_nested("lung_nested", full, small, c(0, 0, coef(small)))
full <- coxph(Surv(start, stop, event) ~ age + year + surgery + transplant, hea, ties = "breslow", control = control)
small <- coxph(Surv(start, stop, event) ~ year + surgery, hea, ties = "breslow", control = control)
add_nested("heart_nested", full, small, c(0, coef(small), 0))

write.csv(do.call(rbind, out), file.path(folder, "cox_more_values.csv"), row.names = FALSE, quote = TRUE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival"))), file.path(folder, "cox_more_versions.txt"))
